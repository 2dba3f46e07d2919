"""Opened audio files, and segments of them: mono frames at any place, and one sentence for all that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.audio.channels import LOST_DB, MEAN, Channel, mean_loss_db
from data.audio.ffmpeg import NOT_AUDIO
from data.audio.formats import UNRECOGNISED_FORMAT, AnyStream, open_stream
from data.audio.library import import_soundfile
from data.audio.notices import NOTICES
from data.errors import AudioReadError

RATES = 1_000, 1_000_000  # Hz; beyond them is a damaged header, not sound
LOUDNESS_BLOCKS = 30  # of a second each, at most: from these the loudest channel is found
NO_MPEG_FRAMES = "not a regular file"  # libsndfile's word for it; what is no file is refused before
ROUNDED_SECONDS = 0.1  # lists round their times: by this much a segment may reach beyond the end of its file


class Segment(NamedTuple):
    """A part of a file: where it begins and how long it is, in seconds; to the end of the file where that is None."""

    start: float
    seconds: float | None = None

    def name(self, path: str) -> str:
        """How a segment is named where it, and not its whole file, is at fault."""
        return f"{path} at {self.start:g} s"


class AudioFile:
    """An opened file, or a segment of one, which behaves as a file of these frames alone.

    Attributes:
        path: the file's.
        name: the path, and for a segment where it begins.
        frames: per channel.
        samplerate: in Hz.
        channels: how many; `read` makes one of them.
    """

    def __init__(self, path: str, stream: AnyStream, channel: Channel) -> None:
        self.path = self.name = path
        self.frames, self.samplerate, self.channels = stream.frames, stream.samplerate, stream.channels
        self._stream, self._first, self._channel = stream, 0, channel
        self._number: int | None = None

    def cut(self, segment: Segment | None) -> AudioFile:
        """The file of a segment alone; the whole file for None. Raises AudioReadError where it reaches beyond the end.

        A segment that does so by up to ROUNDED_SECONDS ends with the file.
        """
        if segment is None:
            return self
        rate = self.samplerate
        first = round(segment.start * rate)
        last = (
            self.frames if segment.seconds is None else max(first + 1, round((segment.start + segment.seconds) * rate))
        )
        if first < 0 or first >= self.frames or last > self.frames + ROUNDED_SECONDS * rate:
            length = "" if segment.seconds is None else f" of {segment.seconds:g} s"
            reason = f"the segment{length} is not inside its file, which has {self.frames / rate:.2f} s"
            raise AudioReadError(segment.name(self.path), reason)
        part = AudioFile(self.path, self._stream, self._channel)
        part.name, part.frames, part._first = segment.name(self.path), min(last, self.frames) - first, first
        return part

    def read(self, start: int, frames: int) -> np.ndarray:
        """`frames` frames from frame `start` on, mono float32 [T].

        Raises AudioReadError when some are missing or not finite.
        """
        block = self.read_channels(start, frames)
        mono = block[:, 0] if block.shape[1] == 1 else self._one_channel(block)
        if not np.isfinite(mono).all():
            raise AudioReadError(self.path, "holds NaN or infinite samples")
        return mono

    def _one_channel(self, block: np.ndarray) -> np.ndarray:
        """The chosen channel [T] of a block [T, C]."""
        if self._channel == "mean":
            lost = mean_loss_db(block)
            if lost > LOST_DB:
                text = (
                    f"the mean of its {self.channels} channels is {lost:.1f} dB below the loudest: set `data.channel` "
                    "to loudest (usual where one microphone has the voice), first, or a number from 0 on"
                )
                NOTICES.say("channels", self.path, text)
            return block.mean(axis=1)
        return block[:, self._channel_number()]

    def _channel_number(self) -> int:
        """The channel to read; the loudest is found in up to LOUDNESS_BLOCKS blocks from all over the file."""
        if self._number is None:
            if isinstance(self._channel, int):
                self._number = self._channel
            else:
                self._number = self._loudest() if self._channel == "loudest" else 0
        return self._number

    def _loudest(self) -> int:
        size = min(self.frames, self.samplerate)
        starts = range(0, self.frames - size + 1, max(size, (self.frames - size) // LOUDNESS_BLOCKS + 1))
        power = sum(np.square(self.read_channels(start, size), dtype=np.float64).sum(axis=0) for start in starts)
        return int(np.argmax(np.nan_to_num(power)))

    def read_channels(self, start: int, frames: int) -> np.ndarray:
        """`frames` frames from frame `start` on, float32 [T, C]. Raises AudioReadError when some are missing."""
        block = self._stream.read(self._first + start, frames)
        if len(block) < frames:
            raise AudioReadError(self.path, f"truncated: the sound ends {frames - len(block)} frames too early")
        return block


@contextmanager
def opened(path: str | Path, segment: Segment | None = None, *, channel: Channel = MEAN) -> Iterator[AudioFile]:
    """Open a file, or a segment of it. Every failure to read it, here or in the `with` block, is an AudioReadError."""
    path, library = str(path), import_soundfile()
    try:
        stream = open_stream(path)
        try:
            if stream.frames <= 0:
                raise AudioReadError(path, "empty: a header without any samples")
            if not RATES[0] <= stream.samplerate <= RATES[1]:
                problem = f"has a sample rate of {stream.samplerate} Hz, outside of {RATES[0]} to {RATES[1]} Hz"
                raise AudioReadError(path, problem)
            if isinstance(channel, int) and channel >= stream.channels:
                raise AudioReadError(path, f"has no channel {channel}: its channels are 0 to {stream.channels - 1}")
            yield AudioFile(path, stream, channel).cut(segment)
        finally:
            stream.close()
    except library.LibsndfileError as error:
        if error.code == UNRECOGNISED_FORMAT:
            reason = NOT_AUDIO
        elif NO_MPEG_FRAMES in error.error_string:
            reason = "truncated or damaged: no MPEG frames that can be decoded"
        else:
            reason = f"truncated or damaged: {error.error_string.strip()}"
        raise AudioReadError(path, reason) from error
    except OSError as error:  # `filename` is the shard where the shard cannot be read
        raise AudioReadError(error.filename or path, f"unreadable: {error.strerror or error}") from error
    except (RuntimeError, MemoryError) as error:
        raise AudioReadError(path, f"unreadable: {error}") from error
