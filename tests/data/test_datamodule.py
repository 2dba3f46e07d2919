"""`SpeechDataModule`: the same stream however it is computed, bad files named once, whole clips shared exactly."""

import itertools
import logging
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from jsonargparse import ArgumentParser

from data import AudioReadError, AudioSource, Augmentation, DataError, FolderSource, ManifestSource, SpeechDataModule
from data.audio.reading import read_whole
from data.datasets import noise_scale
from tests.support.paths import ROOT
from tests.support.speech import write_speech

Batch = dict[str, Any]


@pytest.fixture
def corpus(tmp_path: Path) -> FolderSource:
    lengths = [1.5 + number / 2 for number in range(6)]
    return FolderSource(str(write_speech(tmp_path / "corpus", lengths, rates=(16000, 24000), extension="flac")))


def test_a_name_that_is_not_utf8_is_read_and_its_neighbour_reported(
    write: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, bad = (tmp_path / "odd" / os.fsdecode(name) for name in (b"caf\xe9.wav", b"bad\xe9.wav"))
    write("odd/x.wav").rename(good)
    bad.write_bytes(good.read_bytes()[:9000])
    module = SpeechDataModule(predict_from=str(good.parent), num_workers=1)
    module.setup("predict")
    (batch,) = module.predict_dataloader()
    assert batch["id"] == [r"caf\udce9.wav"] and batch["path"] == [str(good)]
    assert module.bad_file_reasons() == {str(bad): "truncated: 8956 of 64000 bytes of sound are there"}
    assert "1 of 2 clips cannot be read" in caplog.text


def place(module: SpeechDataModule, rank: int, world_size: int, step: int = 0, device: str = "cpu") -> None:
    """Put the data module on a rank, as a trainer does."""
    module.trainer = SimpleNamespace(  # type: ignore[assignment]
        global_rank=rank,
        world_size=world_size,
        global_step=step,
        is_global_zero=rank == 0,
        strategy=SimpleNamespace(broadcast=lambda value: value, root_device=torch.device(device)),
    )


def batches(module: SpeechDataModule, count: int) -> list[Batch]:
    module.setup("fit")
    return list(itertools.islice(module.train_dataloader(), count))


def test_batches_have_the_promised_shapes(corpus: FolderSource) -> None:
    module = SpeechDataModule(corpus, output_sample_rate=24000, crop_seconds=0.5, batch_size=3, num_workers=0)
    (batch,) = batches(module, 1)
    assert batch["audio"].shape == (3, 1, 8000) and batch["target"].shape == (3, 1, 12000)
    assert set(batches(SpeechDataModule(corpus, num_workers=0), 1)[0]) == {"audio"}


def test_stream_is_the_same_for_any_number_of_workers(corpus: FolderSource) -> None:
    options: Any = dict(crop_seconds=0.2, batch_size=2, augmentation=Augmentation((-6.0, 6.0), corpus), seed=4)
    streams = [batches(SpeechDataModule(corpus, num_workers=n, **options), 6) for n in (0, 1, 2)]
    for other in streams[1:]:
        assert all(torch.equal(a["audio"], b["audio"]) for a, b in zip(streams[0], other, strict=True))
    other = batches(SpeechDataModule(corpus, num_workers=0, **{**options, "seed": 5}), 1)
    assert not torch.equal(streams[0][0]["audio"], other[0]["audio"])


def test_ranks_together_get_the_batches_of_one(corpus: FolderSource) -> None:
    whole = batches(SpeechDataModule(corpus, batch_size=4, num_workers=0), 3)
    parts = []
    for rank in range(2):
        module = SpeechDataModule(corpus, batch_size=2, num_workers=0)
        place(module, rank, 2)
        parts.append(batches(module, 3))
    for one, a, b in zip(whole, *parts, strict=True):
        assert torch.equal(one["audio"], torch.cat((a["audio"], b["audio"])))


def test_stream_goes_on_at_the_trainers_step(corpus: FolderSource) -> None:
    whole = batches(SpeechDataModule(corpus, batch_size=2, num_workers=0), 5)
    module = SpeechDataModule(corpus, batch_size=2, num_workers=0)
    place(module, 0, 1, step=3)
    rest = batches(module, 2)
    assert all(torch.equal(a["audio"], b["audio"]) for a, b in zip(whole[3:], rest, strict=True))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5, 8])
def test_every_clip_once_on_any_number_of_ranks(corpus: FolderSource, world_size: int) -> None:
    seen = []
    for rank in range(world_size):
        module = SpeechDataModule(test=corpus, num_workers=0)
        place(module, rank, world_size)
        module.setup("test")
        loader = module.test_dataloader()
        if world_size > 6:
            with pytest.raises(TypeError):  # a length of 0 would make Lightning skip hooks on this rank alone
                len(loader)
        seen += [batch["id"][0] for batch in loader]
    assert sorted(seen) == [f"{number}.flac" for number in range(6)]


def test_whole_clips_and_validation_subset(corpus: FolderSource, tmp_path: Path) -> None:
    module = SpeechDataModule(
        corpus,
        corpus,
        predict_from=str(tmp_path / "corpus"),
        output_sample_rate=24000,
        num_workers=0,
        val_clips=2,
        val_seconds=1.0,
    )
    module.setup("fit")
    assert [(b["id"][0], b["audio"].shape[-1]) for b in module.val_dataloader()] == [
        ("0.flac", 16000),
        ("3.flac", 16000),
    ]
    module.setup("validate")
    assert len(module.val_dataloader()) == 6
    module.setup("predict")
    last = list(module.predict_dataloader())[-1]
    assert last["id"] == ["5.flac"] and last["path"] == [str(tmp_path / "corpus/5.flac")]
    assert last["speaker"] == [""]  # not known
    module = SpeechDataModule(predict_from=str(write_speech(tmp_path / "voices/ann", [1.0]).parent), num_workers=0)
    module.setup("predict")
    assert next(iter(module.predict_dataloader()))["speaker"] == ["ann"]
    assert last["audio"].shape == (1, 1, 64000) and last["target"].shape == (1, 1, 96000)
    assert torch.equal(last["audio"][0], read_whole(last["path"][0], (16000, 24000))[0])


@pytest.mark.parametrize("kind", ["empty", "text", "nan", "truncated.wav", "truncated.flac", "folder", "link"])
def test_bad_file_is_named_once_and_training_goes_on(
    corpus: FolderSource, bad_file: Callable[[str], Path], kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    path = bad_file(kind)
    source: AudioSource = corpus
    if kind == "folder":  # a list may name one; a source of a folder looks inside
        ids = [*(clip.id for clip in corpus.clips()), path.relative_to(corpus.root).as_posix()]
        (corpus.root / "list.tsv").write_text("\n".join(["path", *ids]) + "\n")
        source = ManifestSource(str(corpus.root / "list.tsv"))
    module = SpeechDataModule(source, crop_seconds=0.2, batch_size=4, num_workers=0)
    again = SpeechDataModule(source, crop_seconds=0.2, batch_size=4, num_workers=0)
    with caplog.at_level(logging.WARNING):
        first = batches(module, 12)
        list(itertools.islice(module.train_dataloader(), 12))
    named = [record.getMessage() for record in caplog.records if str(path) in record.getMessage()]
    assert len(named) == 1 and module.bad_file_count() == 1
    assert list(module.bad_file_reasons()) == [str(path)]
    again.setup("fit")  # knows of no bad file found while reading, and yet draws the same
    assert torch.equal(list(itertools.islice(again.train_dataloader(), 12))[11]["audio"], first[11]["audio"])


def test_workers_share_the_record(corpus: FolderSource, write: Callable[..., Path], capfd: Any) -> None:
    path = write("corpus/short.wav", 0.1)
    module = SpeechDataModule(corpus, batch_size=16, num_workers=2)
    module.setup("fit")
    list(itertools.islice(module.train_dataloader(), 30))
    assert list(module.bad_file_reasons()) == [str(path)]
    assert capfd.readouterr().err.count(str(path)) <= 1


@pytest.mark.parametrize("kind", ["empty", "text", "nan", "truncated.wav", "truncated.flac"])
@pytest.mark.parametrize("stage", ["fit", "test"])
def test_strict_stops_with_path_and_reason(
    corpus: FolderSource, bad_file: Callable[[str], Path], kind: str, stage: str
) -> None:
    path = bad_file(kind)
    module = SpeechDataModule(corpus, test=corpus, batch_size=16, num_workers=0, strict=True)
    with pytest.raises(AudioReadError) as found:
        module.setup(stage)
        list(itertools.islice(module.train_dataloader(), 30))
    assert found.value.path == str(path) and found.value.reason


def test_short_clip_is_padded_named_and_counted_or_strict(
    write: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write("short/a.wav", 0.5)
    source = FolderSource(str(tmp_path / "short"))
    module = SpeechDataModule(source, batch_size=2, num_workers=0)
    (batch,) = batches(module, 1)
    assert torch.equal(batch["audio"][..., 8000:], torch.zeros(2, 1, 8000))
    assert caplog.text.count("shorter than a crop (0.500 s of 1.000 s)") == 1 and module.bad_file_count() == 1
    with pytest.raises(AudioReadError, match=f"{path}: shorter than a crop"):
        batches(SpeechDataModule(source, num_workers=0, strict=True), 1)


def test_bad_clips_are_left_out_of_evaluation_and_named(
    corpus: FolderSource, bad_file: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    paths = [bad_file(kind) for kind in ("empty", "nan", "truncated.flac")]
    module = SpeechDataModule(test=corpus, num_workers=0)
    module.setup("test")
    assert len(module.test_dataloader()) == 6 and module.bad_file_count() == 3
    assert all(caplog.text.count(f"{path}:") == 1 for path in paths)
    assert "test: 3 of 9 clips cannot be read and are left out" in caplog.text


def test_cut_ogg_is_found_by_its_manifest(write: Callable[..., Path], tmp_path: Path) -> None:
    path = write("a.ogg", 20.0)
    (tmp_path / "list.tsv").write_text("path\tseconds\na.ogg\t20.0\n")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    module = SpeechDataModule(test=ManifestSource(str(tmp_path / "list.tsv")), num_workers=0, strict=True)
    with pytest.raises(AudioReadError, match=r"truncated: .* of the 20.00 s"):
        module.setup("test")


def test_nothing_readable_ends_with_a_sentence(tmp_path: Path, bad_file: Callable[[str], Path]) -> None:
    bad_file("text")
    source = FolderSource(str(tmp_path / "corpus"))
    with pytest.raises(DataError, match="source 0 has no clip that can be read"):
        SpeechDataModule(source, num_workers=0).setup("fit")
    with pytest.raises(DataError, match="the one clip for test cannot be read"):
        SpeechDataModule(test=source, num_workers=0).setup("test")
    (tmp_path / "corpus/list.tsv").write_text("path\tseconds\ntext.wav\t3.0\n")
    with pytest.raises(DataError, match="100 clips drawn in a row cannot be read"):
        batches(SpeechDataModule(ManifestSource(str(tmp_path / "corpus/list.tsv")), num_workers=0), 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            dict(crop_seconds=0.81, hop_length=320),
            "12960 samples.*hop_length=320: the nearest is crop_seconds=0.8",
        ),
        (dict(crop_seconds=0.0), "crop_seconds 0.0 must be a finite number above 0"),
        (dict(crop_seconds=0.001), "the nearest is crop_seconds=0.02"),
        (dict(output_sample_rate=22050, crop_seconds=0.02), "320 samples at 16000 Hz are 441.000"),
        (
            dict(output_sample_rate=11025, crop_seconds=0.02),
            "320 samples at 16000 Hz are 220.500 samples at 11025",
        ),
    ],
)
def test_lengths_that_do_not_divide_are_refused(options: dict[str, Any], message: str) -> None:
    if "441" in message:
        assert SpeechDataModule(**options).crop_samples == 320  # exact: no error
        return
    with pytest.raises(DataError, match=message):
        SpeechDataModule(**options)


@pytest.mark.parametrize(("stage", "option"), [("fit", "train"), ("validate", "val"), ("test", "test")])
def test_missing_source_names_its_option(stage: str, option: str) -> None:
    with pytest.raises(DataError, match=f"data.{option}"):
        SpeechDataModule(num_workers=0).setup(stage)
    with pytest.raises(DataError, match=r"data\.predict_from"):
        SpeechDataModule(num_workers=0).setup("predict")


def test_duplicate_ids_across_sources(corpus: FolderSource) -> None:
    with pytest.raises(DataError, match=r"6 clip ids occur twice, such as '0\.flac'"):
        SpeechDataModule(test=[corpus, corpus], num_workers=0).setup("test")


def test_noise_has_the_wanted_ratio_and_gain_the_wanted_level(tmp_path: Path) -> None:
    for folder, level in (("speech", 0.1), ("noise", 0.02)):
        (tmp_path / folder).mkdir()
        samples = level * np.random.default_rng(len(folder)).standard_normal(64000)
        soundfile.write(tmp_path / folder / "a.wav", samples, 16000, subtype="FLOAT")
    speech, noise = (FolderSource(str(tmp_path / name)) for name in ("speech", "noise"))

    def augmented(**options: Any) -> SpeechDataModule:
        return SpeechDataModule(speech, num_workers=0, augmentation=Augmentation(**options))

    (clean,) = batches(SpeechDataModule(speech, num_workers=0), 1)
    noisy_module = augmented(noise=noise, snr_db=(10.0, 10.0), noise_probability=1.0)
    (noisy,) = batches(noisy_module, 1)
    ratio = clean["audio"].square().mean() / (noisy["audio"] - clean["audio"]).square().mean()
    assert 10 * ratio.log10().item() == pytest.approx(10.0, abs=0.05)
    (quiet,) = batches(augmented(gain_db=(-20.0, -20.0)), 1)
    torch.testing.assert_close(quiet["audio"], 0.1 * clean["audio"])
    (loud,) = batches(augmented(gain_db=(40.0, 40.0)), 1)
    torch.testing.assert_close(loud["audio"], clean["audio"] / clean["audio"].abs().amax(dim=-1, keepdim=True))
    assert noise_scale(torch.zeros(1, 4), torch.ones(1, 4), snr_db=0.0) == 0.0


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # instantiate_classes has another name from 4.49 on
@pytest.mark.parametrize("several", [False, True])
def test_sources_from_yaml(corpus: FolderSource, tmp_path: Path, several: bool) -> None:
    source = f"{{class_path: data.FolderSource, init_args: {{root: {corpus.root}}}}}"
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data:\n  train: {f'[{source}, {source}]' if several else source}\n"
        f"  weights: {'[1.0, 3.0]' if several else 'null'}\n  val: {source}\n  predict_from: {corpus.root}\n"
        f"  augmentation: {{noise: {source}, snr_db: [0, 20]}}\n  num_workers: 0\n"
    )
    parser = ArgumentParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(SpeechDataModule, "data")
    module = parser.instantiate_classes(parser.parse_args(["--config", str(config)])).data
    assert len(module.sources["train"]) == 1 + several
    assert isinstance(module.sources["predict"][0], FolderSource)
    module.setup("fit")
    assert next(iter(module.train_dataloader()))["audio"].shape == (8, 1, 16000)


LEVELS = ("errors", "sampling", "audio", "sources", "shards", "datasets", "datamodule", "prepare", "features")


def test_data_imports_neither_codec_nor_callbacks_nor_upwards() -> None:
    for module in (ROOT / "data").rglob("*.py"):
        room = module.relative_to(ROOT / "data").parts[0].removesuffix(".py")
        level = (*LEVELS, "__init__").index(room)
        for line in module.read_text(encoding="utf-8").splitlines():
            assert not line.strip().startswith(("import codec", "from codec", "import callbacks", "from callbacks"))
            imported = re.match(r"\s*(?:from|import) data\.(\w+)", line)
            assert imported is None or LEVELS.index(imported[1]) <= level, f"{module}: {line}"


def test_errors_keep_their_fields_between_processes() -> None:
    error = pickle.loads(pickle.dumps(DataError("batch_size", 0, "must be at least 1", "set it")))
    assert (error.what, error.value, error.allowed, error.remedy) == ("batch_size", 0, "must be at least 1", "set it")
    assert str(error) == "batch_size 0 must be at least 1: set it."
    unreadable = pickle.loads(pickle.dumps(AudioReadError(b"caf\xe9.wav", "is a folder")))
    assert (unreadable.path, unreadable.reason) == (os.fsdecode(b"caf\xe9.wav"), "is a folder")
    assert isinstance(unreadable, DataError) and str(unreadable) == f"{unreadable.path}: is a folder"


@pytest.mark.parametrize(("device", "option", "pins"), [
    ("cpu", None, False), ("cuda:0", None, True), ("cuda:0", False, False), ("cpu", True, True),
])  # fmt: skip
def test_batches_are_page_locked_where_a_gpu_copies_them(
    corpus: FolderSource, device: str, option: bool | None, pins: bool
) -> None:
    module = SpeechDataModule(corpus, num_workers=0, pin_memory=option)
    module.setup("fit")
    place(module, 0, 1, device=device)
    assert module.train_dataloader().pin_memory is pins
