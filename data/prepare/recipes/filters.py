"""Which clips a corpus leaves out: by length, loudness and clipping, each with its reason."""

import math
from typing import NamedTuple

import numpy as np
import torch

from data.audio.channels import MEAN, Channel
from data.audio.files import AudioFile, opened
from data.audio.loudness import ABSOLUTE_GATE, LoudnessMeter
from data.errors import DataError
from data.shards.writer import Filtered
from data.sources.base import Clip

FULL_SCALE = 1 - 2**-15  # the largest sample of 16 bits
READ_FRAMES = 1 << 20


class Filters(NamedTuple):
    """Limits of what is kept; None for no limit.

    Attributes:
        min_seconds: of a clip, or of a piece where recordings are cut.
        max_seconds: likewise.
        min_loudness: in LUFS (ITU-R BS.1770, of the mono mix); a silent clip has −70.
        max_loudness: likewise.
        max_clipping: share of the samples of all channels that are at full scale, 0 to 1, before any resampling.
    """

    min_seconds: float | None = None
    max_seconds: float | None = None
    min_loudness: float | None = None
    max_loudness: float | None = None
    max_clipping: float | None = None

    def check(self) -> None:
        """Raise DataError for limits that keep nothing."""
        for name, value in self._asdict().items():
            if value is not None and not math.isfinite(value):
                raise DataError(_option(name), value, "must be a finite number")
        for kind in ("seconds", "loudness"):
            low, high = getattr(self, f"min_{kind}"), getattr(self, f"max_{kind}")
            if low is not None and high is not None and low > high:
                raise DataError(f"--min-{kind}", low, f"is above --max-{kind} {high}", "exchange the two")
        for name in ("min_seconds", "max_seconds"):
            if (getattr(self, name) or 0) < 0:
                raise DataError(_option(name), getattr(self, name), "must be at least 0")
        if self.max_clipping is not None and not 0 <= self.max_clipping <= 1:
            raise DataError("--max-clipping", self.max_clipping, "must be a share of the samples from 0 to 1")

    def refuse_clip(self, name: str, clip: Clip, channel: Channel = MEAN) -> Filtered | None:
        """As `refuse`, for a whole clip."""
        if self == Filters():
            return None
        with opened(clip.path, clip.segment, channel=channel) as file:
            return self.refuse(name, file, 0, file.frames)

    def refuse(self, name: str, file: AudioFile, start: int, frames: int) -> Filtered | None:
        """Why the `frames` frames from `start` on are left out, as the clip `name`; None where they are kept.

        Raises AudioReadError where they cannot be read.
        """
        seconds = frames / file.samplerate
        if self.min_seconds is not None and seconds < self.min_seconds:
            return Filtered(name, seconds, "too short", f"{seconds:.2f} s")
        if self.max_seconds is not None and seconds > self.max_seconds:
            return Filtered(name, seconds, "too long", f"{seconds:.2f} s")
        if self.max_clipping is not None:
            share = clipped_share(file, start, frames)
            if share > self.max_clipping:
                return Filtered(name, seconds, "clipped", f"{share:.2%} of the samples")
        if self.min_loudness is not None or self.max_loudness is not None:
            level = lufs(file, start, frames)
            if self.min_loudness is not None and level < self.min_loudness:
                return Filtered(name, seconds, "too quiet", f"{level:.1f} LUFS")
            if self.max_loudness is not None and level > self.max_loudness:
                return Filtered(name, seconds, "too loud", f"{level:.1f} LUFS")
        return None


def clipped_share(file: AudioFile, start: int, frames: int) -> float:
    """The share of samples, of all channels, that are at full scale or beyond."""
    clipped = 0
    for done in range(0, frames, READ_FRAMES):
        block = file.read_channels(start + done, min(READ_FRAMES, frames - done))  # [T, C]
        clipped += int(np.count_nonzero(np.abs(block) >= FULL_SCALE))
    return clipped / (frames * file.channels)


def lufs(file: AudioFile, start: int, frames: int) -> float:
    """Integrated loudness of the mono mix in LUFS, at least −70 (ITU-R BS.1770), in bounded memory."""
    meter = LoudnessMeter(file.samplerate)
    for done in range(0, frames, READ_FRAMES):
        meter.push(torch.from_numpy(file.read(start + done, min(READ_FRAMES, frames - done)))[None])
    return max(meter.loudness(), ABSOLUTE_GATE)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
