"""Cutting long recordings into pieces, at the quietest place before the limit."""

import math
from collections.abc import Iterator

import numpy as np

from data.audio.files import AudioFile

BLOCK_SECONDS = 0.05  # whose power says how quiet a place is


def pieces(file: AudioFile, max_seconds: float, rate: int) -> Iterator[tuple[int, int]]:
    """(first frame, number of frames) of each piece of a file, one after the other, without gaps.

    A piece has at most `max_seconds`. It ends in the middle of the quietest 50 ms of its second half, but so that the
    last piece has at least a quarter of `max_seconds`. Where the ratio of the rates allows, it begins at a whole sample
    at `rate` Hz, so that the pieces together are the whole file resampled.
    """
    limit = int(max_seconds * file.samplerate)
    step = file.samplerate // math.gcd(file.samplerate, rate)
    if step > BLOCK_SECONDS * file.samplerate:
        step = 1
    start = 0
    while file.frames - start > limit:
        last = min(limit, file.frames - start - limit // 4)
        frames = _quietest(file, start + limit // 2, start + last) - start
        frames = max(1, frames // step * step)
        yield start, frames
        start += frames
    yield start, file.frames - start


def _quietest(file: AudioFile, first: int, last: int) -> int:
    """The frame in the middle of the quietest block between two frames; of equal ones, of the first."""
    size = max(1, round(BLOCK_SECONDS * file.samplerate))
    blocks = (last - first) // size
    if blocks < 1:
        return last
    samples = file.read(first, blocks * size).astype(np.float64)
    power = (samples.reshape(blocks, size) ** 2).sum(1)
    return first + int(power.argmin()) * size + size // 2


def piece_name(name: str, start: float, stop: float) -> str:
    """The name of the piece from `start` to `stop` seconds: a file, named by its milliseconds, in a folder `name`.

    So no piece can have the name of another clip.
    """
    folder, dot, extension = name.rpartition(".")
    ending = f".{extension}" if dot and "/" not in extension and folder else ""
    return f"{name}/{round(1000 * start):09}-{round(1000 * stop):09}{ending}"
