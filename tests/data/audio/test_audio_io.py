"""Crops equal slices of the whole file, at any rate, and only their own part of the file is read."""

import gc
import math
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from data.audio.reading import check_readable, probe, read_crop, read_whole
from data.errors import AudioReadError

BAD = ("empty", "headeronly", "text", "nan", "folder", "link", "truncated.wav", "truncated.flac")


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
@pytest.mark.parametrize("position", [0.0, 0.31, 0.5, 0.999999])
def test_crop_equals_slice_of_whole_file(write: Callable[..., Path], name: str, position: float) -> None:
    path = write(name, 3.0)
    whole, _ = soundfile.read(path, dtype="float32")
    crop = read_crop(path, 16000, rates=(16000,), position=position)
    assert crop.waves[0].shape == (1, 16000) and crop.waves[0].dtype == torch.float32
    assert np.array_equal(crop.waves[0][0].numpy(), whole[crop.start : crop.start + 16000])


def test_crop_places_cover_the_file(write: Callable[..., Path]) -> None:
    path = write("a.wav", 2.0)
    starts = [read_crop(path, 16000, rates=(16000,), position=p).start for p in (0.0, 0.5, 1 - 1e-9)]
    assert starts == [0, 8000, 16000]


@pytest.mark.parametrize("rate", [8000, 22050, 24000, 44100, 48000])
@pytest.mark.parametrize("position", [0.0, 0.4, 0.999999])
def test_resampled_crop_equals_slice_of_resampled_file(write: Callable[..., Path], rate: int, position: float) -> None:
    path = write("a.wav", 2.0, rate=rate)
    crop = read_crop(path, 8000, rates=(16000, 24000), position=position)
    for wave, out in zip(crop.waves, (16000, 24000), strict=True):
        whole = read_whole(path, (out,))[0]
        first = crop.start * out // rate
        assert crop.start * out % rate == 0
        assert wave.shape == (1, out // 2)
        torch.testing.assert_close(wave, whole[:, first : first + out // 2], atol=2e-6, rtol=0)


def test_whole_file_is_torchaudio_resampling_of_the_channel_mean(write: Callable[..., Path]) -> None:
    path = write("stereo.flac", 1.0, rate=44100, channels=2)
    samples, _ = soundfile.read(path, dtype="float32")
    mono = torch.from_numpy(samples.mean(axis=1))[None]
    expected = resample(
        mono,
        44100,
        16000,
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        resampling_method="sinc_interp_kaiser",
        beta=14.769656459379492,
    )
    torch.testing.assert_close(read_whole(path, (16000,))[0], expected, atol=1e-5, rtol=0)


def test_input_and_target_are_aligned_sines(tmp_path: Path) -> None:
    times = np.arange(44100 * 2) / 44100
    soundfile.write(tmp_path / "sine.wav", 0.5 * np.sin(2 * math.pi * 440 * times), 44100, subtype="FLOAT")
    crop = read_crop(tmp_path / "sine.wav", 16000, rates=(16000, 24000), position=0.37)
    for wave, rate in zip(crop.waves, (16000, 24000), strict=True):
        expected = 0.5 * torch.sin(2 * math.pi * 440 * (crop.start / 44100 + torch.arange(rate) / rate).double())
        torch.testing.assert_close(wave[0].double(), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("rate", [16000, 48000])
def test_reads_only_the_crop_and_a_margin(
    write: Callable[..., Path], rate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("long.flac", 60.0, rate=rate)
    asked: list[int] = []
    read = soundfile.SoundFile.read

    def counting(self: soundfile.SoundFile, frames: int = -1, **options: object) -> np.ndarray:
        block = read(self, frames, **options)
        asked.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    read_crop(path, 16000, rates=(16000,), position=0.9)
    assert rate <= sum(asked) <= 1.05 * rate


def test_short_file_is_followed_by_zeros(write: Callable[..., Path]) -> None:
    path = write("short.wav", 0.25)
    crop = read_crop(path, 16000, rates=(16000,), position=0.7)
    assert crop.waves[0].shape == (1, 16000) and crop.start == 0 and crop.file_seconds == 0.25
    assert crop.waves[0][:, :4000].abs().sum() > 0 and torch.equal(crop.waves[0][:, 4000:], torch.zeros(1, 12000))


def test_loud_file_is_scaled_not_clipped(tmp_path: Path) -> None:
    samples = np.linspace(-2.0, 1.0, 16000)
    soundfile.write(tmp_path / "loud.wav", samples, 16000, subtype="FLOAT")
    wave = read_whole(tmp_path / "loud.wav", (16000,))[0][0].numpy()
    np.testing.assert_allclose(wave, samples / 2.0, atol=1e-6)


def test_highpass_removes_an_offset_and_keeps_speech(tmp_path: Path) -> None:
    tone = 0.3 * np.sin(2 * math.pi * 300 * np.arange(48000) / 16000)
    soundfile.write(tmp_path / "offset.wav", 0.2 + tone, 16000, subtype="FLOAT")
    wave = read_crop(tmp_path / "offset.wav", 16000, rates=(16000,), position=0.5, highpass_hz=30.0).waves[0]
    assert abs(wave.mean().item()) < 1e-3
    assert wave.square().mean().sqrt().item() == pytest.approx(0.3 / math.sqrt(2), rel=0.02)


def test_probe(write: Callable[..., Path]) -> None:
    assert probe(write("a.flac", 1.5, rate=22050, channels=2)) == (33075, 22050, 2)


def test_whole_clip_is_cut(write: Callable[..., Path]) -> None:
    assert read_whole(write("a.wav", 2.0), (16000, 24000), max_seconds=0.5)[1].shape == (1, 12000)


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_raise_with_path_and_reason(bad_file: Callable[[str], Path], kind: str) -> None:
    path = bad_file(kind)
    with pytest.raises(AudioReadError) as found:
        check_readable(path)
    assert found.value.path == str(path) and len(found.value.reason) > 5
    with pytest.raises(AudioReadError):
        read_whole(path, (16000,))
    with pytest.raises(AudioReadError):
        read_crop(path, 16000, rates=(16000,), position=0.99)


def test_unreadable_file(write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write("secret.wav")
    monkeypatch.setattr("os.access", lambda *_: False)  # root may read what chmod forbids
    with pytest.raises(AudioReadError, match="permission denied"):
        read_whole(path, (16000,))


def test_wav_written_to_a_pipe_is_not_truncated(write: Callable[..., Path]) -> None:
    path = write("piped.wav", 1.0)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert read_whole(path, (16000,))[0].shape[1] >= 16000


@pytest.mark.parametrize("head", [b"this is not audio", b"\0\0\0\x20ftypM4A "], ids=["text", "m4a"])
@pytest.mark.parametrize("installed", [False, True])
def test_a_file_that_no_decoder_reads_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, head: bytes, installed: bool
) -> None:
    if installed:
        pytest.importorskip("av")
    else:
        monkeypatch.setattr("data.audio.ffmpeg.import_av", lambda: None)
    (tmp_path / "a.wav").write_bytes(head * 100)
    with warnings.catch_warnings(record=True) as unclosed:
        warnings.simplefilter("always")
        with pytest.raises(AudioReadError):
            probe(str(tmp_path / "a.wav"))
        gc.collect()
    assert [str(warning.message) for warning in unclosed] == []
