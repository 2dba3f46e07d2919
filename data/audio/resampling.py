"""Waves at any sample rate: windowed-sinc resampling that gives slices of the whole resampled file, and a high-pass."""

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torchaudio.functional import highpass_biquad
from torchaudio.transforms import Resample

from data.audio.files import AudioFile
from data.audio.interpolation import BETA, LOWPASS_WIDTH, ROLLOFF, half_width, interpolate

KERNEL_NUMBERS = 1 << 21  # 8 MB; most filters between usual rates have a tenth of that
LEVEL_FRAMES = 1 << 20  # read at once by `level_of`
HIGHPASS_LEAD_SECONDS = 0.1  # the high-pass filter starts this long before a crop, so that it has settled


class Level(NamedTuple):
    """What the high-pass filter subtracts before it, and the largest distance of a sample from that."""

    mean: float
    peak: float


class Timed(Protocol):
    """What has a length: a file or what is held of it."""

    @property
    def frames(self) -> int: ...

    @property
    def samplerate(self) -> int: ...


def start_frame(file: Timed, samples: int, rates: tuple[int, ...], position: float) -> int | Fraction:
    """Where the crop at `position` begins, in frames: evenly among the places that are whole samples at each rate.

    They are whole frames too, multiples of rate / gcd(rate, `rates`), apart from files of an odd rate.
    """
    grid = math.gcd(*rates) if _is_odd(file.samplerate, tuple(rates)) else math.gcd(file.samplerate, *rates)
    room = file.frames - math.ceil(samples * file.samplerate / rates[0])
    place = 0 if room <= 0 else int(position * (room * grid // file.samplerate + 1))
    start = Fraction(place * file.samplerate, grid)
    return start.numerator if start.denominator == 1 else start


def read_resampled(
    file: AudioFile,
    start: int | Fraction,
    lengths: Sequence[int],
    rates: Sequence[int],
    highpass_hz: float | None,
    *,
    level: Level | None = None,
) -> tuple[torch.Tensor, ...]:
    """Read mono waves [1, length], one for each rate, from frame `start` on; zeros follow the end of the file.

    With the `level` of the whole file, the high-pass filter computes in float64: what it gives then does not depend on
    where reading began. Without one it takes that of what is read, and its float32 rounds by up to 1e-4 at 16 kHz.

    `start` has to be a whole sample at each rate. A file of an odd rate, whose polyphase filter would need more than
    KERNEL_NUMBERS numbers for one of `rates`, is resampled by `interpolate`, with the same filter and no error in rate.
    """
    odd = _is_odd(file.samplerate, tuple(rates))
    begin = math.floor(start)
    lead, margin = _lead(file.samplerate, rates, begin, odd=odd, highpass_hz=highpass_hz)
    needed = max(math.ceil(length * file.samplerate / rate) for length, rate in zip(lengths, rates, strict=True))
    stop, first = begin + needed + margin, max(0, begin - lead)
    wave = torch.from_numpy(file.read(first, max(0, min(stop, file.frames) - first)))[None]  # [1, T]
    if highpass_hz:
        wave = _highpass(wave, file.samplerate, highpass_hz, level=level)
    wave = torch.nn.functional.pad(wave, (first - (begin - lead), max(0, stop - file.frames)))
    if odd:
        return _interpolated(wave, lead + start - begin, lengths, rates, old=file.samplerate)
    waves = []
    for length, rate in zip(lengths, rates, strict=True):
        resampled = wave if rate == file.samplerate else _resampler(file.samplerate, rate)(wave)
        offset = lead * rate // file.samplerate
        waves.append(resampled[:, offset : offset + length].contiguous())
    return tuple(waves)


def _interpolated(
    wave: torch.Tensor, place: int | Fraction, lengths: Sequence[int], rates: Sequence[int], *, old: int
) -> tuple[torch.Tensor, ...]:
    """Waves [1, length] at each of `rates` from frame `place` of `wave` on, which is at `old` Hz."""
    factor = _decimation(old, rates)
    fewer = _resampler(factor, 1)(wave) if factor > 1 else wave
    waves = []
    for length, rate in zip(lengths, rates, strict=True):
        if rate == old:  # then `place` is whole
            waves.append(wave[:, int(place) : int(place) + length].contiguous())
        else:
            first = Fraction(place) / factor
            waves.append(interpolate(fewer, first, length, old=Fraction(old, factor), new=rate))
    return tuple(waves)


def _decimation(old: int, rates: Sequence[int]) -> int:
    """By how much a much higher odd rate is divided before it is interpolated, for speed: to twice `rates` or more."""
    return max(1, old // (2 * max(rates)))


def _lead(old: int, rates: Sequence[int], begin: int, *, odd: bool, highpass_hz: float | None) -> tuple[int, int]:
    """How many frames before a crop are read, and how many after it, so that it equals a slice of the filtered file.

    Before a polyphase filter, this is a whole number of samples at every rate.
    """
    settle = round(HIGHPASS_LEAD_SECONDS * old) if highpass_hz else 0
    if odd:
        factor = _decimation(old, rates)
        margin = factor * (max(half_width(Fraction(old, factor), rate) for rate in rates) + 2)
        margin += _filter_width(factor, 1)
        lead = margin + settle
        return lead + (begin - lead) % factor, margin  # decimation takes the same frames for every crop
    margin = max(_filter_width(old, rate) for rate in rates)
    step = math.lcm(*(old // math.gcd(old, rate) for rate in rates))
    return math.ceil((margin + settle) / step) * step, margin


@lru_cache(maxsize=256)
def _is_odd(old: int, rates: tuple[int, ...]) -> bool:
    """Whether a polyphase filter from `old` to one of `rates` has too many numbers to be kept."""
    return any(_kernel_numbers(old, new) > KERNEL_NUMBERS for new in rates if new != old)


def _kernel_numbers(old: int, new: int) -> int:
    common = math.gcd(old, new)
    return new // common * (2 * half_width(old, new) + old // common)


def _filter_width(old: int, new: int) -> int:
    """How many frames before and after it a resampled sample depends on."""
    return 0 if old == new else _resampler(old, new).width + old // math.gcd(old, new)


def level_of(file: AudioFile) -> Level:
    """The level of all frames of a file, read in blocks. Raises AudioReadError."""
    total, low, high = 0.0, math.inf, -math.inf
    for start in range(0, file.frames, LEVEL_FRAMES):
        block = file.read(start, min(LEVEL_FRAMES, file.frames - start))
        total += block.sum(dtype=np.float64)
        low, high = min(low, float(block.min())), max(high, float(block.max()))
    mean = total / max(1, file.frames)
    return Level(mean, max(high - mean, mean - low, 0.0))


def _highpass(wave: torch.Tensor, rate: int, cutoff_hz: float, *, level: Level | None) -> torch.Tensor:
    if level is None:
        wave = wave - wave.mean()  # an offset would ring at the start
        peak = wave.abs().max().item()
    else:
        wave, peak = wave.double() - level.mean, level.peak
    scale = 4.0 * max(1.0, peak)  # torchaudio's filter clamps to [-1, 1]
    return (highpass_biquad(wave / scale, rate, cutoff_hz) * scale).float()


@lru_cache(maxsize=32)
def _resampler(old: int, new: int) -> Resample:
    """A windowed-sinc resampler as steep as resampy's "kaiser_best"."""
    return Resample(
        old,
        new,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=LOWPASS_WIDTH,
        rolloff=ROLLOFF,
        beta=BETA,
    )
