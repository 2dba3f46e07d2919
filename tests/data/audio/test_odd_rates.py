"""Any sample rate: bounded memory and time, the exact ratio, and crops that are slices of the whole."""

import math
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torchaudio.functional import resample

from data.audio.decoded import DecodedClips
from data.audio.interpolation import interpolate
from data.audio.pieces import PieceReader
from data.audio.reading import read_crop, read_whole
from data.audio.resampling import KERNEL_NUMBERS, _kernel_numbers

ODD = [7_999, 11_003, 16_001, 22_051, 37_799, 44_101, 96_001, 192_001]
USUAL = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 37800, 44100, 48000, 88200, 96000, 176400, 192000, 384000]
Write = Callable[..., Path]


def test_filter_is_that_of_usual_rates() -> None:
    wave = torch.randn(1, 20_000, generator=torch.Generator().manual_seed(0))
    options = dict(lowpass_filter_width=64, rolloff=0.9475937167399596, beta=14.769656459379492)
    for old, new in ((44100, 16000), (16000, 24000), (48000, 16000), (22050, 24000)):
        expected = resample(wave, old, new, resampling_method="sinc_interp_kaiser", **options)
        padded = torch.nn.functional.pad(wave, (1000, 1000))
        length = 20_000 * new // old
        ours = interpolate(padded, 1000, length, old=old, new=new)
        torch.testing.assert_close(ours, expected[:, :length], atol=5e-5, rtol=0)


def test_usual_rates_keep_their_filters() -> None:
    assert all(_kernel_numbers(old, new) < KERNEL_NUMBERS for old in USUAL for new in USUAL if old != new)


@pytest.mark.parametrize("rate", ODD)
def test_a_sine_keeps_its_phase(tmp_path: Path, rate: int) -> None:
    """The ratio is exact: a nearby one with an error of 1e-5 would be wrong by 0.1 rad at the end."""
    seconds, hertz = 4, 440.0
    times = np.arange(seconds * rate) / rate
    soundfile.write(tmp_path / "sine.wav", 0.5 * np.sin(2 * math.pi * hertz * times), rate, subtype="FLOAT")
    for wave, new in zip(read_whole(tmp_path / "sine.wav", (16000, 24000)), (16000, 24000), strict=True):
        assert wave.shape == (1, seconds * new)
        expected = 0.5 * torch.sin(2 * math.pi * hertz * torch.arange(seconds * new).double() / new)
        torch.testing.assert_close(wave[0, 1000:-1000].double(), expected[1000:-1000], atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [7_999, 16_001, 192_001])
@pytest.mark.parametrize("highpass_hz", [None, 40.0])
def test_crops_are_slices_of_the_whole(write: Write, rate: int, highpass_hz: float | None) -> None:
    path, rates = write("a.wav", 1.5, rate=rate, subtype="FLOAT"), (16000, 24000)
    held = DecodedClips([(str(path), None)], 8000, rates=rates, highpass_hz=highpass_hz, max_bytes=1 << 30)
    whole = read_whole(path, rates, highpass_hz=highpass_hz)
    starts = set()
    for position in (0.0, 0.3, 0.77, 1 - 1e-9):
        crop = read_crop(path, 8000, rates=rates, position=position, highpass_hz=highpass_hz)
        first = math.ceil(crop.start * 8000 / rate)  # places are whole samples at both rates: multiples of 1/8000 s
        for number, wave in enumerate(crop.waves):
            expected = whole[number][:, first * rates[number] // 8000 :][:, : wave.shape[1]]
            torch.testing.assert_close(wave, expected, atol=1e-5 if highpass_hz is None else 1e-2, rtol=0)
        in_memory = held.crop(0, position)
        assert in_memory is not None and in_memory[1:] == crop[1:]
        torch.testing.assert_close(
            in_memory.waves[0], crop.waves[0], atol=1e-5 if highpass_hz is None else 1e-2, rtol=0
        )
        starts.add(crop.start)
    assert len(starts) == 4


def test_pieces_of_an_odd_rate_are_the_whole(write: Write) -> None:
    path, rates = write("a.wav", 5.3, rate=16_001, subtype="FLOAT"), (16000, 24000)
    reader = PieceReader(rates)
    clip = reader.scan(path, None, 2.0)
    pieces = [reader.read(path, None, clip, number) for number in range(clip.pieces)]
    assert clip.pieces == 3
    for number, wave in enumerate(read_whole(path, rates)):
        torch.testing.assert_close(torch.cat([piece[number] for piece in pieces], dim=1), wave, atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [*ODD, 1_000, 999_983])
def test_memory_and_time_are_bounded(write: Write, rate: int) -> None:
    path = write("a.wav", 2.0, rate=rate)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    read_whole(path, (16000, 24000))
    assert time.process_time() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000  # KB
