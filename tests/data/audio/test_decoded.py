"""`in_memory`: the stream of draws, crops and reports that reading by seeking gives, from memory that workers share."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data import (
    AudioReadError,
    AudioSource,
    Augmentation,
    DataError,
    FolderSource,
    ManifestSource,
    ShardSource,
    SpeechDataModule,
)
from data.audio.decoded import DecodedClips, available_bytes
from data.audio.reading import read_crop, read_whole
from data.datamodule import MEMORY_SHARE
from data.prepare import pack
from tests.data.shards.test_shards import same
from tests.data.test_datamodule import batches, place

Write = Callable[..., Path]


@pytest.fixture
def corpus(write: Write, tmp_path: Path) -> FolderSource:
    """Lossless files at the training rate, one of them stereo, one too loud."""
    for number in range(4):
        write(f"corpus/{number}.flac", 1.2 + number / 3, channels=1 + (number == 3))
    loud = np.linspace(-2.0, 2.0, 40000)
    soundfile.write(tmp_path / "corpus/loud.wav", loud, 16000, subtype="FLOAT")
    return FolderSource(str(tmp_path / "corpus"))


def pair(source: AudioSource, **options: Any) -> list[SpeechDataModule]:
    """The same data module by seeking and in memory."""
    options = {"crop_seconds": 0.2, "batch_size": 4, "num_workers": 0, "seed": 3, **options}
    return [SpeechDataModule(source, in_memory=in_memory, **options) for in_memory in (False, True)]


def hold(paths: list[Path], samples: int, *rates: int, highpass_hz: float | None = None) -> DecodedClips:
    clips = [(str(path), None) for path in paths]
    return DecodedClips(clips, samples, rates=rates, highpass_hz=highpass_hz, max_bytes=1 << 30)


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: Any, **__: Any) -> None:
        raise AssertionError("a file is read")

    monkeypatch.setattr("data.datasets.crops.read_crop", read)
    monkeypatch.setattr("data.audio.decoded.read_resampled", read)


@pytest.mark.parametrize("block_seconds", [60, 1])
@pytest.mark.parametrize(
    "case",
    [
        (16000, (16000,), None, 0.0),
        (44100, (16000, 24000), None, 2e-6),
        (16000, (16000, 24000), None, 2e-6),
        (16000, (16000,), 30.0, 2e-4),
        (48000, (16000, 24000), 30.0, 2e-4),
    ],
)
def test_crop_is_the_one_read_by_seeking(
    write: Write,
    monkeypatch: pytest.MonkeyPatch,
    block_seconds: int,
    case: tuple[int, tuple[int, ...], float | None, float],
) -> None:
    rate, rates, highpass_hz, tolerance = case
    monkeypatch.setattr("data.audio.decoded.BLOCK_SECONDS", block_seconds)
    paths = [write(f"{seconds}.wav", seconds, rate=rate, subtype="FLOAT") for seconds in (2.0, 0.3, 3.3, 0.8)]
    held = hold(paths, 8000, *rates, highpass_hz=highpass_hz)
    for number, path in enumerate(paths):
        for position in (0.0, 0.3, 0.77, 1 - 1e-9):
            expected = read_crop(path, 8000, rates=rates, position=position, highpass_hz=highpass_hz)
            crop = held.crop(number, position)
            assert crop is not None and crop[1:] == expected[1:]
            near_beginning = highpass_hz and crop.start < 0.1 * rate
            for ours, theirs in zip(crop.waves, expected.waves, strict=True):
                torch.testing.assert_close(ours, theirs, atol=2e-3 if near_beginning else tolerance, rtol=0)


def test_lossy_crop_is_a_slice_of_the_whole_file(write: Write) -> None:
    path = write("a.opus", 3.0, rate=48000, format="OGG", subtype="OPUS")
    crop = hold([path], 48000, 48000).crop(0, 0.7)
    assert crop is not None and torch.equal(
        crop.waves[0], read_whole(path, (48000,))[0][:, crop.start : crop.start + 48000]
    )


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("packed", [False, True])
def test_stream_is_the_one_read_by_seeking(
    corpus: FolderSource, write: Write, tmp_path: Path, workers: int, packed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source: AudioSource = corpus
    if packed:
        pack(corpus, tmp_path / "packed", shard_bytes=60_000)
        source = ShardSource(str(tmp_path / "packed"))
    noise = FolderSource(str(write("noise/a.wav", 2.0).parent))
    seeking, memory = pair(source, augmentation=Augmentation((-6.0, 6.0), noise), num_workers=workers)
    expected = batches(seeking, 6)
    for other in batches(memory, 6), _from_batch(memory, 2):
        first = 6 - len(other)
        assert same(expected[first:], other)
    (silent,) = pair(source)[1:]
    silent.setup("fit")
    forbid_reading(monkeypatch)
    next(iter(silent.train_dataloader()))


def _from_batch(module: SpeechDataModule, step: int) -> list[dict[str, Any]]:
    place(module, 0, 1, step=step)
    module.trainer.num_devices = 1  # type: ignore[misc, union-attr]
    module.trainer.strategy.barrier = lambda: None  # type: ignore[union-attr, method-assign]
    return batches(module, 6 - step)


@pytest.mark.parametrize("kind", ["empty", "text", "nan", "truncated.wav", "truncated.flac", "folder", "link", "short"])
@pytest.mark.parametrize("listed", [False, True])
def test_bad_file_is_reported_as_by_seeking(
    corpus: FolderSource, bad_file: Callable[[str], Path], write: Write, kind: str, listed: bool
) -> None:
    path = write("corpus/short.wav", 0.19) if kind == "short" else bad_file(kind)
    source: AudioSource = corpus
    if listed or kind == "folder":  # a list may name a folder; a source of a folder looks inside
        # With the lengths known, the first to open the file is who draws or decodes it.
        ids = sorted({*(clip.id for clip in corpus.clips()), path.relative_to(corpus.root).as_posix()})
        lengths = [8.0 if corpus.root / id == path else soundfile.info(corpus.root / id).duration for id in ids]
        rows = [f"{id}\t{length if listed else ''}\n" for id, length in zip(ids, lengths, strict=True)]
        (corpus.root / "list.tsv").write_text("path\tseconds\n" + "".join(rows))
        source = ManifestSource(str(corpus.root / "list.tsv"))
    seeking, memory = pair(source)
    expected, ours = batches(seeking, 25), batches(memory, 25)
    assert same(expected, ours)
    assert list(memory.bad_file_reasons()) == [str(path)]
    assert memory.bad_file_reasons() == seeking.bad_file_reasons()
    errors = []
    for module in pair(source, strict=True):
        with pytest.raises(AudioReadError) as found:
            batches(module, 25)
        errors.append(str(found.value))
    assert errors[0] == errors[1] and str(path) in errors[0]


def test_file_cut_after_it_was_listed_is_refused_when_drawn(write: Write, tmp_path: Path) -> None:
    write("good.wav", 2.0)
    path = write("a.ogg", 20.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (tmp_path / "list.tsv").write_text("path\tseconds\na.ogg\t20.0\ngood.wav\t2.0\n")
    seeking, memory = pair(ManifestSource(str(tmp_path / "list.tsv")))
    assert same(batches(seeking, 6), batches(memory, 6))
    assert memory.bad_file_reasons() == seeking.bad_file_reasons()
    assert "of the 20.00 s that its list states" in memory.bad_file_reasons()[str(path)]


def test_what_is_not_held_is_counted(
    corpus: FolderSource,
    bad_file: Callable[[str], Path],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = bad_file("nan")
    lines: list[str] = []
    monkeypatch.setattr("data.audio.decoded.rank_zero_info", lines.append)
    batches(pair(corpus)[1], 1)
    hours = sum(soundfile.info(clip.path).duration for clip in corpus.clips()) / 3600
    (line,) = lines
    assert line.startswith(f"{hours:.2f} h of training clips decoded into {hours * 3600 * 16000 * 4e-9:.2f} GB of")
    assert f"1 of 6 training clips stay on disk, such as {path}: holds NaN" in caplog.text


def test_workers_get_no_copy(corpus: FolderSource, monkeypatch: pytest.MonkeyPatch) -> None:
    def pickled(self: DecodedClips) -> None:
        raise AssertionError("the clips are pickled")

    monkeypatch.setattr(DecodedClips, "__reduce__", pickled)
    method = multiprocessing.get_start_method()
    multiprocessing.set_start_method("spawn", force=True)
    try:
        assert len(batches(pair(corpus, num_workers=1)[1], 2)) == 2
    finally:
        multiprocessing.set_start_method(method, force=True)


def test_items_may_be_changed_in_place(corpus: FolderSource) -> None:
    module = pair(corpus)[1]
    module.setup("fit")
    dataset = module.train_dataloader().dataset
    before = dataset[0]["audio"].clone()
    dataset[0]["audio"].zero_()
    assert torch.equal(dataset[0]["audio"], before) and before.any()


def test_clips_are_decoded_once_for_several_fits(
    corpus: FolderSource, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = pair(corpus)[1]
    module.setup("fit")
    with monkeypatch.context() as patched:
        forbid_reading(patched)
        batches(module, 1)
    write("corpus/9.flac", 1.0)
    assert same(batches(module, 6), batches(pair(corpus)[0], 6))


@pytest.mark.parametrize(("ranks", "fits"), [(1, True), (2, False)])
def test_what_does_not_fit_is_refused_before_decoding(
    corpus: FolderSource, ranks: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = sum(4 * round(16000 * soundfile.info(clip.path).duration) for clip in corpus.clips())
    monkeypatch.setattr("data.datamodule.available_bytes", lambda: 1.5 * needed / MEMORY_SHARE)
    module = pair(corpus)[1]
    events: list[str] = []
    strategy = SimpleNamespace(broadcast=lambda value: value, barrier=lambda: events.append("barrier"))
    trainer = SimpleNamespace(num_devices=ranks, world_size=ranks, is_global_zero=True, strategy=strategy)
    module.trainer = trainer  # type: ignore[assignment]
    if fits:
        return module.setup("fit")
    forbid_reading(monkeypatch)
    size, limit = needed / 1e9, 0.75 * needed / 1e9
    sentence = rf"in_memory True needs {size:.2f} GB of memory for 0\.00 h of .* {limit:.2f} GB here: set it to false"
    with pytest.raises(DataError, match=sentence):
        module.setup("fit")
    assert events == ["barrier"]


def test_available_memory_is_the_least_of_all_limits(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("proc/meminfo", "MemTotal:       64000 kB\nMemAvailable:   50000 kB\n")
    write("proc/self/cgroup", "4:memory:/old\n0::/job/step\n")
    assert available_bytes(tmp_path) == 50_000 * 1024
    for group, limit in (("job", "30000000\n"), ("job/step", "max\n")):
        write(f"sys/fs/cgroup/{group}/memory.max", limit)
        write(f"sys/fs/cgroup/{group}/memory.current", "25000000\n")
        write(f"sys/fs/cgroup/{group}/memory.stat", "anon 5\ninactive_file 4000000\n")
    assert available_bytes(tmp_path) == 9_000_000
    assert 0 < available_bytes() < 1 << 50
