"""Predictions become audio and codes in mirrored folders, one for each codec of a comparison, and nowhere else."""

from __future__ import annotations

import errno
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from callbacks.output.files import AUDIO_SUFFIXES
from callbacks.output.prediction_writer import PredictionWriter, folder_name
from codec.channels.index_maps import GrayMap
from codec.channels.link import Link
from codec.codec import NeuralCodec
from codec.training.codec_module import CodecModule
from codec.training.comparison_module import ComparisonModule, System
from data import FolderSource, SpeechDataModule
from data.sources.folder import AUDIO_EXTENSIONS, FFMPEG_EXTENSIONS
from data.sources.tree import MEDIA_SUFFIXES
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like, write_speech


def predict(folder: Path, module: Any, names: list[str]) -> None:
    clips = [clip(name, speech_like(number, 0.3)) for number, name in enumerate(names)]
    runner = trainer(folder, [PredictionWriter(folder / "out")])
    runner.predict(module, loader(clips), return_predictions=False)


def stored(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as archive:
        return dict(archive)


def test_files_mirror_the_folders_and_hold_audio_and_codes(tmp_path: Path, module: CountingModule) -> None:
    predict(tmp_path, module, ["p1/a.flac", "p1/v1.2_take", "b.WAV"])
    found = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*.*")}
    assert found == {f"{name}{end}" for name in ("p1/a", "p1/v1.2_take", "b") for end in (".wav", ".codes.npz")}
    audio, rate = soundfile.read(tmp_path / "out/p1/a.wav")
    assert rate == 16_000 and audio.shape == (4800,)
    archive = stored(tmp_path / "out/p1/a.codes.npz")
    assert archive["codes"].dtype == np.uint8 and archive["codes"].shape == (1, 15)
    expected = module.codec.encode(torch.from_numpy(speech_like(0, 0.3))[None, None])
    assert np.array_equal(archive["codes"], expected[0].numpy())
    decoded = module.codec.decode(torch.from_numpy(archive["codes"].astype(np.int64))[None], length=4800)
    assert np.abs(audio - decoded[0, 0].detach().clamp(-1, 1).numpy()).max() < 2**-14
    assert (int(archive["sample_rate"]), int(archive["hop_length"]), int(archive["length"])) == (16_000, 320, 4800)
    assert archive["codebook_sizes"].tolist() == [256]


def test_the_ending_of_every_file_that_is_looked_for_is_replaced(tmp_path: Path, module: CountingModule) -> None:
    assert AUDIO_SUFFIXES == MEDIA_SUFFIXES
    assert {*AUDIO_EXTENSIONS, *FFMPEG_EXTENSIONS} <= AUDIO_SUFFIXES
    predict(tmp_path, module, ["a.caf", "b.SPH", "c.rf64", "d.webm", "e.v2"])
    assert {path.name for path in (tmp_path / "out").glob("*.wav")} == {
        f"{name}.wav" for name in ["a", "b", "c", "d", "e.v2"]
    }


def test_two_files_of_one_name_keep_their_extensions_apart(tmp_path: Path, module: CountingModule) -> None:
    predict(tmp_path, module, ["a.wav", "a.flac"])
    assert (tmp_path / "out/a.wav").exists() and (tmp_path / "out/a.flac.wav").exists()
    with pytest.raises(ValueError, match="predicted twice"):
        predict(tmp_path, module, ["a.wav", "a.wav", "a.wav"])


@pytest.mark.parametrize("name", ["../a.wav", "x/../../a.wav", "x/../a.wav", "/tmp/a.wav", "", "link/a.wav"])
def test_an_id_cannot_leave_the_folder(tmp_path: Path, module: CountingModule, name: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/link").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="clip id"):
        predict(tmp_path, module, [name])
    assert not list(tmp_path.rglob("*.wav"))


@pytest.mark.parametrize("seconds", [0.3, 4.0])
def test_a_file_that_is_no_prediction_is_never_replaced(tmp_path: Path, module: CountingModule, seconds: float) -> None:
    """As when the output folder is that of the input."""
    kept = tmp_path / "out/a.wav"
    kept.parent.mkdir()
    kept.write_bytes(b"a recording")
    batches = [clip("a.flac", speech_like(0, 0.3))]
    if seconds > 1:
        batches = piecewise("a.flac", speech_like(0, seconds), 20_000)
    with pytest.raises(ValueError, match=r"a\.wav is there and is no prediction.*empty folder"):
        write(tmp_path, CodecModule(module.codec), batches)
    assert kept.read_bytes() == b"a recording" and files(tmp_path / "out") == {"a.wav"}
    kept.unlink()
    for _ in range(2):  # an earlier prediction is
        write(tmp_path, CodecModule(module.codec), batches)
    assert files(tmp_path / "out") == {"a.wav", "a.codes.npz"}


def test_clipping_is_counted(tmp_path: Path, module: CountingModule) -> None:
    with torch.no_grad():
        module.codec.decoder.head.bias += 4.0
    with pytest.warns(UserWarning, match=r"1 of 1 file left \[-1, 1\]"):
        predict(tmp_path, module, ["loud.wav"])
    assert np.abs(soundfile.read(tmp_path / "out/loud.wav")[0]).max() == pytest.approx(32767 / 32768)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_each_codec_of_a_comparison_has_the_folder_of_its_first_system(
    tmp_path: Path, module: CountingModule, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(1)
    other = tiny_codec((5, 5, 5))
    systems = [
        System("FSQ: natural", codec=module.codec),
        System("other", codec=other),
        System("FSQ: Gray", codec=module.codec, link=Link(index_map=GrayMap())),
    ]
    with caplog.at_level(logging.INFO):
        predict(tmp_path, ComparisonModule(systems), ["p1/a.flac", "p1/a.wav"])
    assert "No files of FSQ: Gray: its codec is that of FSQ: natural" in caplog.text
    assert files(tmp_path / "out") == {
        f"{folder}/p1/{name}{end}"
        for folder in ("FSQ__natural", "other")
        for name in ("a", "a.wav")
        for end in (".wav", ".codes.npz")
    }
    predict(tmp_path / "alone", module, ["p1/a.flac", "p1/a.wav"])
    for name in files(tmp_path / "alone" / "out"):
        alone, together = (tmp_path / part / name for part in ("alone/out", "out/FSQ__natural"))
        assert alone.read_bytes() == together.read_bytes()
    codes = stored(tmp_path / "out/other/p1/a.codes.npz")
    assert codes["codebook_sizes"].tolist() == [125] and codes["codes"].max() < 125


@pytest.mark.parametrize("family", ["encodec", "neucodec"])
def test_a_third_party_codec_is_written_at_its_own_rates(tmp_path: Path, module: CountingModule, family: str) -> None:
    third_party = pytest.importorskip("tests.codec.hub.test_transformers_codec")
    codec = third_party.TransformersCodec.wrap(third_party.small_model(family))
    predict(tmp_path, ComparisonModule([System("ours", codec=module.codec), System(family, codec=codec)]), ["a.wav"])
    audio, rate = soundfile.read(tmp_path / "out" / family / "a.wav")
    archive = stored(tmp_path / "out" / family / "a.codes.npz")
    assert (rate, len(audio), int(archive["output_length"])) == (24_000, 7200, 7200)  # 0.3 s
    heard = {"encodec": (24_000, 7200), "neucodec": (16_000, 4800)}[family]
    assert (int(archive["sample_rate"]), int(archive["length"])) == heard
    assert archive["codes"].shape == (len(codec.quantizer.codebook_sizes), -(-heard[1] // codec.hop_length))
    again = codec.decode(torch.from_numpy(archive["codes"])[None], length=7200)[0, 0]  # uint8 as it was stored
    assert np.abs(audio - again.clamp(-1, 1).numpy()).max() < 2**-14


def test_names_become_one_visible_folder() -> None:
    names = ["FSQ", "a b/c", "..", ".hidden", "../../x", "EnCodec 6 kbit/s", "\0", "é-1.5"]
    expected = ["FSQ", "a_b_c", "_.", "_hidden", "_._.._x", "EnCodec_6_kbit_s", "_", "é-1.5"]
    assert [str(folder_name(name)) for name in names] == expected


def test_names_of_one_folder_are_refused_before_the_first_clip(tmp_path: Path) -> None:
    def coded(*names: str, codecs: list[NeuralCodec]) -> None:
        systems = [System(name, codec=codec) for name, codec in zip(names, codecs, strict=True)]
        predict(tmp_path, ComparisonModule(systems), ["a.wav"])

    one, two = tiny_codec(), tiny_codec()
    with pytest.raises(ValueError, match="systems 'a b' and 'a/b' would share the folder a_b: rename one of them"):
        coded("a b", "a/b", codecs=[one, two])
    with pytest.raises(ValueError, match="systems 'FSQ' and 'fsq' would share the folder fsq: rename one of them"):
        coded("FSQ", "fsq", codecs=[one, two])  # on a file system that does not tell case apart
    assert not (tmp_path / "out").exists()
    coded("a b", "a/b", codecs=[one, one])
    assert files(tmp_path / "out") == {"a_b/a.wav", "a_b/a.codes.npz"}


def test_clipping_of_several_codecs_is_counted_by_file(tmp_path: Path, module: CountingModule) -> None:
    with torch.no_grad():
        module.codec.decoder.head.bias += 4.0
    comparison = ComparisonModule([System("loud", codec=module.codec), System("other", codec=tiny_codec())])
    with pytest.warns(UserWarning, match=r"2 of 4 files left \[-1, 1\].*loud/a'"):
        predict(tmp_path, comparison, ["a.wav", "b.wav"])


def test_what_is_not_finite_is_counted_and_named(tmp_path: Path, module: CountingModule) -> None:
    with torch.no_grad():
        module.codec.decoder.head.bias[0] = float("nan")
    with pytest.warns(
        UserWarning, match=r"2 of 2 files hold zeros for NaN or infinite samples \(9600 samples\): \['a', "
    ):
        predict(tmp_path, module, ["a.wav", "b.wav"])
    assert not soundfile.read(tmp_path / "out/a.wav")[0].any()


def test_the_end_says_how_many_files_are_where(
    tmp_path: Path, module: CountingModule, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        predict(tmp_path, module, ["a.wav", "b.wav"])
    assert f"2 WAV files, each with its codes in a .codes.npz, are in {tmp_path / 'out'}." in caplog.text


def occupied(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.mark.parametrize(("place", "reason"), [
    (lambda folder: occupied(folder / "file"), "File exists"),
    (lambda folder: occupied(folder / "file") / "sub", "Not a directory"),
    (lambda folder: folder / ("n" * 300), "File name too long"),
])  # fmt: skip
def test_a_place_that_cannot_be_written_is_refused_before_the_first_clip(
    tmp_path: Path, module: CountingModule, place: Any, reason: str
) -> None:
    runner = trainer(tmp_path, [PredictionWriter(place(tmp_path))])
    clips = loader([clip("a.wav", speech_like(0, 0.3))])
    with pytest.raises(ValueError, match=rf"cannot be written \({reason}\): give a folder .* predictions\.output_dir"):
        runner.predict(module, clips, return_predictions=False)
    assert module.encoded == 0


@pytest.mark.parametrize(("taken", "name", "reason"), [
    ("a.wav", "a.wav", r"out/a\.wav cannot be written \(Is a directory\)"),
    ("a.codes.npz", "a.wav", r"out/a\.codes\.npz cannot be written \(Is a directory\)"),
    (".", "n" * 251 + ".wav", r"n\.codes\.npz cannot be written \(File name too long\)"),
])  # fmt: skip
def test_a_file_that_cannot_be_written_is_named_in_a_sentence(
    tmp_path: Path, module: CountingModule, taken: str, name: str, reason: str
) -> None:
    (tmp_path / "out" / taken).mkdir(parents=True)
    with pytest.raises(ValueError, match=reason):
        predict(tmp_path, module, [name])


def test_a_folder_that_is_not_utf8_is_written_to(tmp_path: Path, module: CountingModule) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    predict(folder, module, ["a.wav"])
    assert files(folder / "out") == {"a.wav", "a.codes.npz"}
    assert len(soundfile.read(os.fsencode(folder / "out/a.wav"))[0]) == 4800


def piecewise(name: str, audio: np.ndarray, samples: int, *, count: int | None = None) -> list[dict[str, Any]]:
    """The batches of a long clip in pieces, the first `count` of them."""
    parts = [audio[first : first + samples] for first in range(0, len(audio), samples)]
    numbers = {"pieces": torch.tensor([len(parts)]), "samples": torch.tensor([len(audio)])}
    batches = [clip(name, part) | numbers | {"piece": torch.tensor([k])} for k, part in enumerate(parts)]
    return batches[:count]


def write(folder: Path, module: Any, batches: list[dict[str, Any]]) -> None:
    runner = trainer(folder, [PredictionWriter(folder / "out")])
    runner.predict(module, loader(batches), return_predictions=False)


def test_a_long_clip_is_written_as_the_undivided_one(tmp_path: Path) -> None:
    audio = speech_like(3, 70.0)
    module = CodecModule(tiny_codec())
    comparison = ComparisonModule([System("a", codec=module.codec), System("b", codec=tiny_codec((5, 5, 5)))])
    for name, model in (("one", module), ("several", comparison)):
        write(tmp_path / name, model, [*piecewise("p/long.wav", audio, 400_000), clip("short.wav", audio[:4800])])
        write(tmp_path / f"{name}_whole", model, [clip("p/long.wav", audio), clip("short.wav", audio[:4800])])
        found = files(tmp_path / name / "out")
        assert found == files(tmp_path / f"{name}_whole/out")
        for file in found:
            pieces, whole = tmp_path / name / "out" / file, tmp_path / f"{name}_whole/out" / file
            if file.endswith(".wav"):
                signals = [soundfile.read(path, dtype="int16") for path in (pieces, whole)]
                assert signals[0][1] == signals[1][1] and len(signals[0][0]) == len(signals[1][0])
                assert np.abs(signals[0][0].astype(int) - signals[1][0]).max() <= 1
                assert soundfile.info(pieces).format == "WAV"
            else:
                archives = stored(pieces), stored(whole)
                assert all(np.array_equal(archives[0][key], archives[1][key]) for key in archives[1])


def test_more_than_four_gigabytes_become_an_rf64_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("callbacks.output.predicted_files.WAV_BYTES", 100_000)
    write(tmp_path, CodecModule(tiny_codec()), piecewise("a.wav", speech_like(0, 4.0), 20_000))
    assert soundfile.info(tmp_path / "out/a.wav").format == "RF64"
    assert soundfile.info(tmp_path / "out/a.wav").frames == 64_000


def test_a_long_clip_that_does_not_end_leaves_nothing_and_is_named(tmp_path: Path) -> None:
    batches = [
        *piecewise("broken.wav", speech_like(0, 4.0), 20_000, count=2),
        *piecewise("a.wav", speech_like(1, 4.0), 20_000),
        *piecewise("last.wav", speech_like(2, 4.0), 20_000, count=1),
    ]
    with pytest.warns(UserWarning, match=r"2 long clips ended .*broken\.wav.*last\.wav"):
        write(tmp_path, CodecModule(tiny_codec()), batches)
    assert files(tmp_path / "out") == {"a.wav", "a.codes.npz"}


def test_a_failing_write_in_a_long_clip_is_one_sentence_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("Error : flush failed.")

    monkeypatch.setattr(soundfile.SoundFile, "write", fail)
    with pytest.raises(ValueError, match=r"a\.wav\.part cannot be written \(Error : flush failed\): give"):
        write(tmp_path, CodecModule(tiny_codec()), piecewise("a.wav", speech_like(0, 4.0), 20_000))
    assert files(tmp_path / "out") == set()


def test_clipping_in_the_pieces_of_a_long_clip_is_counted_for_its_file(tmp_path: Path) -> None:
    module = CodecModule(tiny_codec())
    with torch.no_grad():
        module.codec.decoder.head.bias += 4.0
    with pytest.warns(UserWarning, match=r"1 of 1 file left \[-1, 1\] .*\['a'\]"):
        write(tmp_path, module, piecewise("a.wav", speech_like(0, 4.0), 20_000))


@pytest.mark.parametrize("gain_db", [12.0, -6.0])
def test_audio_is_written_at_the_level_of_the_input(tmp_path: Path, module: CountingModule, gain_db: float) -> None:
    batch, gain = clip("a.wav", speech_like(0, 0.3)), {"gain_db": torch.tensor([gain_db])}
    long = [b | gain for b in piecewise("long.wav", speech_like(0, 4.0), 20_000)]
    codec = CodecModule(module.codec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        write(tmp_path / "plain", codec, [batch, *piecewise("long.wav", speech_like(0, 4.0), 20_000)])
        write(tmp_path / "levelled", codec, [batch | gain, *long])
    for name in ("a.wav", "long.wav"):
        plain, levelled = (soundfile.read(tmp_path / part / "out" / name)[0] for part in ("plain", "levelled"))
        inside = np.abs(plain * 10 ** (-gain_db / 20)) < 0.99
        assert np.abs(levelled - plain * 10 ** (-gain_db / 20))[inside].max() < 2**-13


def test_a_file_that_the_disk_has_no_room_for_is_not_left_in_part(
    tmp_path: Path, module: CountingModule, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_half(path: Path, data: bytes) -> None:
        with path.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(ValueError, match=r"a cannot be written \(No space"):
        predict(tmp_path, module, ["a.wav"])
    assert not list((tmp_path / "out").glob("*.wav"))


@pytest.mark.parametrize("compared", [False, True])
def test_files_of_several_clips_at_once_are_those_of_one_at_a_time(tmp_path: Path, compared: bool) -> None:
    """At another rate than the codec's where codecs are compared."""
    codec = tiny_codec().eval()
    module: Any = ComparisonModule([System("A", codec=codec)], sample_rate=24_000) if compared else CodecModule(codec)
    source = FolderSource(str(write_speech(tmp_path / "in", [0.9, 0.3, 0.02, 1.4, 0.7, 0.7, 2.2])))
    rate = 24_000 if compared else 16_000
    for size in (1, 3):
        data = SpeechDataModule(
            predict_from=source, num_workers=0, sample_rate=rate, hop_length=320, crop_seconds=4.0,
            clips_per_batch=size, piece_seconds=2.0, loudness=-20.0,
        )  # fmt: skip
        runner = trainer(tmp_path / str(size), [PredictionWriter(tmp_path / f"out{size}")])
        runner.predict(module, datamodule=data, return_predictions=False)
    names = [path.relative_to(tmp_path / "out1") for path in sorted((tmp_path / "out1").rglob("*.*"))]
    assert len(names) == 14
    for name in names:
        one, several = tmp_path / "out1" / name, tmp_path / "out3" / name
        if name.suffix == ".npz":
            expected, found = stored(one), stored(several)
            assert expected.keys() == found.keys()
            assert all(np.array_equal(expected[key], found[key]) for key in expected)
        else:
            expected, found = soundfile.read(one)[0], soundfile.read(several)[0]
            assert expected.shape == found.shape and np.abs(expected - found).max() <= 1.01 * 2**-15
