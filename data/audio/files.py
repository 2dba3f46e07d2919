"""Opened audio files, and segments of them: mono frames at any place, and one sentence for all that cannot be read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from data.audio.library import import_soundfile
from data.audio.members import open_member
from data.errors import AudioReadError

if TYPE_CHECKING:
    import soundfile

STREAMED_WAV_BYTES = 2**31 - 2**16  # a WAV written to a pipe declares about 2 or 4 GiB: not a sign of truncation
UNRECOGNISED_FORMAT = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
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
        channels: how many; `read` mixes them.
    """

    def __init__(self, path: str, stream: soundfile.SoundFile) -> None:
        self.path = self.name = path
        self.frames, self.samplerate, self.channels = stream.frames, stream.samplerate, stream.channels
        self._stream, self._first = stream, 0

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
        part = AudioFile(self.path, self._stream)
        part.name, part.frames, part._first = segment.name(self.path), min(last, self.frames) - first, first
        return part

    def read(self, start: int, frames: int) -> np.ndarray:
        """`frames` frames from frame `start` on, mono float32 [T].

        Raises AudioReadError when some are missing or not finite.
        """
        block = self.read_channels(start, frames)
        mono = block[:, 0] if block.shape[1] == 1 else block.mean(axis=1)
        if not np.isfinite(mono).all():
            raise AudioReadError(self.path, "holds NaN or infinite samples")
        return mono

    def read_channels(self, start: int, frames: int) -> np.ndarray:
        """`frames` frames from frame `start` on, float32 [T, C]. Raises AudioReadError when some are missing."""
        self._stream.seek(self._first + start)
        block = self._stream.read(frames, dtype="float32", always_2d=True)  # [T, C]
        if len(block) < frames:
            raise AudioReadError(self.path, f"truncated: the sound ends {frames - len(block)} frames too early")
        return block


@contextmanager
def opened(path: str | Path, segment: Segment | None = None) -> Iterator[AudioFile]:
    """Open a file, or a segment of it. Every failure to read it, here or in the `with` block, is an AudioReadError."""
    path, library = str(path), import_soundfile()
    try:
        member = open_member(path)
        if member is None:
            _refuse_unopenable(path)
        with library.SoundFile(member or os.fsencode(path)) as stream:  # names need not be UTF-8
            if stream.frames <= 0:
                raise AudioReadError(path, "empty: a header without any samples")
            _refuse_cut_wav(path, stream)
            yield AudioFile(path, stream).cut(segment)
    except library.LibsndfileError as error:
        if error.code == UNRECOGNISED_FORMAT:
            reason = "not audio: no format that soundfile reads"
        else:
            reason = f"truncated or damaged: {error.error_string.strip()}"
        raise AudioReadError(path, reason) from error
    except OSError as error:  # `filename` is the shard where the shard cannot be read
        raise AudioReadError(error.filename or path, f"unreadable: {error.strerror or error}") from error
    except RuntimeError as error:
        raise AudioReadError(path, f"unreadable: {error}") from error


def _refuse_unopenable(path: str) -> None:
    if not os.path.isfile(path):
        raise AudioReadError(path, "is a folder" if os.path.isdir(path) else "does not exist or cannot be reached")
    if os.path.getsize(path) == 0:
        raise AudioReadError(path, "empty: the file has 0 bytes")
    if not os.access(path, os.R_OK):
        raise AudioReadError(path, "unreadable: permission denied")


def _refuse_cut_wav(path: str, stream: soundfile.SoundFile) -> None:
    """Raise AudioReadError for a WAV file that holds fewer bytes than its header declares.

    libsndfile opens it without an error, but notes the declared and the present size in its log.
    """
    found = re.search(r"data\s*: (\d+) \(should be (\d+)\)", stream.extra_info)
    if found:
        declared, present = int(found[1]), int(found[2])
        if present < declared < STREAMED_WAV_BYTES:
            raise AudioReadError(path, f"truncated: {present} of {declared} bytes of sound are there")
