"""Reading audio: headers, crops by seeking, and whole clips, of files or segments of files, at any sample rate."""

import math
from pathlib import Path
from typing import NamedTuple

import torch

from data.audio.channels import MEAN, Channel
from data.audio.files import Segment, opened
from data.audio.lengths import length_at
from data.audio.resampling import level_of, read_resampled, start_frame

CHECK_FRAMES = 1 << 20  # decoded at once by `check_readable`


class AudioInfo(NamedTuple):
    """What a file's header says: `frames` per channel, `rate` in Hz, `channels`."""

    frames: int
    rate: int
    channels: int


class Crop(NamedTuple):
    """A region of a file or segment.

    Attributes:
        waves: float32 [1, T], one for each rate that was asked for.
        start: the region's first frame in the file or segment; the one before it where it begins between two.
        file_seconds: length of the whole file or segment.
    """

    waves: tuple[torch.Tensor, ...]
    start: int
    file_seconds: float


def probe(path: str | Path, segment: Segment | None = None) -> AudioInfo:
    """Read the header only. Raises AudioReadError unless the file is audio with at least one frame."""
    with opened(path, segment) as file:
        return AudioInfo(file.frames, file.samplerate, file.channels)


def read_crop(
    path: str | Path,
    samples: int,
    *,
    rates: tuple[int, ...],
    position: float,
    segment: Segment | None = None,
    highpass_hz: float | None = None,
    channel: Channel = MEAN,
) -> Crop:
    """Seek to a place in the file and read `samples` samples at `rates[0]`, one channel of them, resampled.

    `position` in [0, 1) chooses the start, evenly among the frames from which the whole crop fits into the file and
    which are whole samples at each of `rates`; so the waves equal slices of the whole resampled file. A file shorter
    than the crop is read from its start and followed by zeros. A `segment` is read as a file of these frames alone.
    Raises AudioReadError.
    """
    with opened(path, segment, channel=channel) as file:
        start = start_frame(file, samples, rates, position)
        lengths = [length_at(rate, samples, rates[0]) for rate in rates]
        waves = read_resampled(file, start, lengths, rates, highpass_hz)
        file_seconds = file.frames / file.samplerate
    return Crop(within_full_scale(waves), int(start), file_seconds)


def read_whole(
    path: str | Path,
    rates: tuple[int, ...],
    *,
    segment: Segment | None = None,
    max_seconds: float | None = None,
    highpass_hz: float | None = None,
    channel: Channel = MEAN,
    exact: bool = False,
) -> tuple[torch.Tensor, ...]:
    """Read a file or segment (to `max_seconds`): one float32 [1, T] wave for each rate. Raises AudioReadError.

    With `exact` the high-pass filter computes in float64, as that of `PieceReader`; the file is then decoded twice.
    """
    with opened(path, segment, channel=channel) as file:
        seconds = file.frames / file.samplerate
        if max_seconds is not None:
            seconds = min(seconds, max_seconds)
        lengths = [max(1, math.floor(seconds * rate + 1e-6)) for rate in rates]
        level = level_of(file) if exact and highpass_hz else None
        waves = read_resampled(file, 0, lengths, rates, highpass_hz, level=level)
    return within_full_scale(waves)


def check_readable(
    path: str | Path,
    *,
    segment: Segment | None = None,
    max_seconds: float | None = None,
    channel: Channel = MEAN,
) -> float:
    """Decode a file or segment in blocks (to `max_seconds`); returns its length in seconds. Raises AudioReadError."""
    with opened(path, segment, channel=channel) as file:
        frames = file.frames
        if max_seconds is not None:
            frames = min(frames, math.ceil(max_seconds * file.samplerate))
        for done in range(0, frames, CHECK_FRAMES):
            file.read(done, min(frames - done, CHECK_FRAMES))
        return file.frames / file.samplerate


def within_full_scale(waves: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Divide all waves by their common peak where that exceeds 1: resampling and lossy codecs overshoot."""
    peak = max(wave.abs().max().item() for wave in waves)
    return tuple(wave / peak for wave in waves) if peak > 1.0 else waves
