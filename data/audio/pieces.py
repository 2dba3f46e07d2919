"""Long clips in pieces that follow each other: read one by one, and alike in all that the whole clip decides."""

import math
from pathlib import Path
from typing import NamedTuple

import torch

from data.audio.channels import MEAN, Channel
from data.audio.files import AudioFile, Segment, opened
from data.audio.loudness import LoudnessMeter
from data.audio.resampling import HIGHPASS_LEAD_SECONDS, Level, level_of, read_resampled

HIGHPASS_SETTLES = 6.0  # cycles of its cut-off after which a high-pass filter has settled, to 1e-11


class LongClip(NamedTuple):
    """How a long clip is read in pieces, and what is the same in all of them.

    Attributes:
        pieces: how many.
        frames: of the file in a piece; the last may have fewer.
        samples: of the whole clip at the first rate.
        peak: what all are divided by, where the clip exceeds full scale; else 1.
        gain_db: what all are then amplified by, to the target loudness; 0 without one.
        level: of the whole clip, for the high-pass filter; None without one.
    """

    pieces: int
    frames: int
    samples: int
    peak: float = 1.0
    gain_db: float = 0.0
    level: Level | None = None


class PieceReader(NamedTuple):
    """Reads clips in pieces at each of `rates`, after a high-pass filter, at a target loudness in LUFS (None for none).

    The pieces together are the whole clip up to rounding, whatever their length, as `read_whole` reads it with `exact`;
    without, its filter of 30 Hz rounds, in float32, by 1e-4 at 16 kHz and by 2e-4 at 44.1 kHz.
    """

    rates: tuple[int, ...]
    highpass_hz: float | None = None
    loudness: float | None = None
    channel: Channel = MEAN

    def scan(self, path: str | Path, segment: Segment | None, seconds: float) -> LongClip:
        """Read a clip once in pieces of about `seconds`, for its peak and loudness. Raises AudioReadError."""
        with opened(path, segment, channel=self.channel) as file:
            step = file.samplerate // math.gcd(file.samplerate, *self.rates)
            frames = max(1, round(seconds * file.samplerate / step)) * step
            samples = self._samples(file, self.rates[0])
            level = level_of(file) if self.highpass_hz else None
            clip = LongClip(-(-file.frames // frames), frames, samples, level=level)
            meter = None if self.loudness is None else LoudnessMeter(self.rates[0])
            peak = 0.0
            for number in range(clip.pieces):
                waves = self._read(file, clip, number)
                peak = max([peak, *(wave.abs().max().item() for wave in waves if wave.numel())])
                if meter is not None:
                    meter.push(waves[0])
        scale = max(1.0, peak)
        if meter is None or self.loudness is None:
            return clip._replace(peak=scale)
        return clip._replace(peak=scale, gain_db=meter.gain_to(self.loudness, scale=1 / scale, peak=peak))

    def read(self, path: str | Path, segment: Segment | None, clip: LongClip, number: int) -> tuple[torch.Tensor, ...]:
        """The waves float32 [1, T] of a piece, one for each rate. Raises AudioReadError."""
        with opened(path, segment, channel=self.channel) as file:
            waves = self._read(file, clip, number)
        waves = tuple(wave / clip.peak for wave in waves) if clip.peak > 1.0 else waves  # as `within_full_scale`
        factor = 10 ** (clip.gain_db / 20)
        return waves if factor == 1.0 else tuple(wave * factor for wave in waves)

    def _read(self, file: AudioFile, clip: LongClip, number: int) -> tuple[torch.Tensor, ...]:
        start = number * clip.frames
        step = file.samplerate // math.gcd(file.samplerate, *self.rates)
        lead = 0  # frames more than `read_resampled` lets the filter settle for
        if self.highpass_hz:
            wanted = HIGHPASS_SETTLES / self.highpass_hz - HIGHPASS_LEAD_SECONDS
            lead = min(start, max(0, math.ceil(wanted * file.samplerate / step - 1e-6) * step))
        leads, lengths = [], []
        for rate in self.rates:
            end = self._samples(file, rate) if number == clip.pieces - 1 else (start + clip.frames) * rate
            stop = end if number == clip.pieces - 1 else end // file.samplerate
            leads.append(lead * rate // file.samplerate)
            lengths.append(max(0, stop - start * rate // file.samplerate))
        longer = [a + b for a, b in zip(leads, lengths, strict=True)]
        waves = read_resampled(file, start - lead, longer, self.rates, self.highpass_hz, level=clip.level)
        return tuple(wave[:, first:] for wave, first in zip(waves, leads, strict=True))

    def _samples(self, file: AudioFile, rate: int) -> int:
        """Of the whole clip at a rate, as `read_whole` counts them."""
        return max(1, math.floor(file.frames / file.samplerate * rate + 1e-6))
