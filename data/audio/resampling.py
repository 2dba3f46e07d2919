"""Waves at any sample rate: windowed-sinc resampling that gives slices of the whole resampled file, and a high-pass."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import torch
from torchaudio.functional import highpass_biquad
from torchaudio.transforms import Resample

from data.audio.files import AudioFile

HIGHPASS_LEAD_SECONDS = 0.1  # the high-pass filter starts this long before a crop, so that it has settled


class Timed(Protocol):
    """What has a length: a file or what is held of it."""

    @property
    def frames(self) -> int: ...

    @property
    def samplerate(self) -> int: ...


def start_frame(file: Timed, samples: int, rates: tuple[int, ...], position: float) -> int:
    """The first frame of the crop at `position`: a multiple of rate / gcd(rate, `rates`), so whole at each rate."""
    step = file.samplerate // math.gcd(file.samplerate, *rates)
    room = file.frames - math.ceil(samples * file.samplerate / rates[0])
    return 0 if room <= 0 else int(position * (room // step + 1)) * step


def read_resampled(
    file: AudioFile,
    start: int,
    lengths: Sequence[int],
    rates: Sequence[int],
    highpass_hz: float | None,
) -> tuple[torch.Tensor, ...]:
    """Read mono waves [1, length], one for each rate, from frame `start` on; zeros follow the end of the file.

    `start` has to be a whole sample at each rate.
    """
    # The filters start `lead` frames before the crop, so that it equals a slice of the whole filtered file. `lead` is
    # a common multiple of the resamplers' steps: a whole number of samples at every rate.
    steps = [file.samplerate // math.gcd(file.samplerate, rate) for rate in rates]
    margin = max(_filter_width(file.samplerate, rate) for rate in rates)
    settle = round(HIGHPASS_LEAD_SECONDS * file.samplerate) if highpass_hz else 0
    step = math.lcm(*steps)
    lead = math.ceil((margin + settle) / step) * step
    needed = max(math.ceil(length * file.samplerate / rate) for length, rate in zip(lengths, rates, strict=True))
    stop, first = start + needed + margin, max(0, start - lead)
    wave = torch.from_numpy(file.read(first, max(0, min(stop, file.frames) - first)))[None]  # [1, T]
    if highpass_hz:
        wave = _highpass(wave, file.samplerate, highpass_hz)
    wave = torch.nn.functional.pad(wave, (first - (start - lead), max(0, stop - file.frames)))
    waves = []
    for length, rate in zip(lengths, rates, strict=True):
        resampled = wave if rate == file.samplerate else _resampler(file.samplerate, rate)(wave)
        offset = lead * rate // file.samplerate
        waves.append(resampled[:, offset : offset + length].contiguous())
    return tuple(waves)


def _filter_width(old: int, new: int) -> int:
    """How many frames before and after it a resampled sample depends on."""
    return 0 if old == new else _resampler(old, new).width + old // math.gcd(old, new)


def _highpass(wave: torch.Tensor, rate: int, cutoff_hz: float) -> torch.Tensor:
    wave = wave - wave.mean()  # an offset would ring at the start
    scale = 4.0 * max(1.0, wave.abs().max().item())  # torchaudio's filter clamps to [-1, 1]
    return highpass_biquad(wave / scale, rate, cutoff_hz) * scale


@lru_cache(maxsize=64)
def _resampler(old: int, new: int) -> Resample:
    """A windowed-sinc resampler as steep as resampy's "kaiser_best" (the values are torchaudio's)."""
    return Resample(
        old,
        new,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
