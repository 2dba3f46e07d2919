"""Frames at any place of a file, also where its decoder cannot seek, states no length, or ends before the file does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from data.audio.library import import_soundfile

if TYPE_CHECKING:
    import soundfile

BLOCK_FRAMES = 1 << 16  # decoded at once on the way to a place, so that the way there needs little memory
NO_LENGTH = 2**62  # libsndfile states 2**63 - 1 frames where the header states none
NOT_SEEKABLE = ("DWVW_12", "DWVW_16", "DWVW_24")  # libsndfile says they are, and fails


class Decoder(Protocol):
    """Decodes a file from its first frame on.

    Attributes:
        frames: per channel; None where not known.
        seekable: whether `seek` works.
    """

    samplerate: int
    channels: int
    frames: int | None
    seekable: bool

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames, fewer at the end: float32 [T, C]."""
        ...

    def seek(self, frame: int) -> None:
        """Go to a frame."""
        ...

    def close(self) -> None:
        """Release the file."""
        ...


class SoundDecoder:
    """libsndfile as a `Decoder`; `file` is a path or a binary file, and is closed where it can be.

    `estimated` where libsndfile's number of frames is no more than an estimate, and so is the place that it seeks.
    """

    def __init__(self, file: Any, *, estimated: bool = False) -> None:
        self._file = file
        try:
            self._sound = _sequential()(file)
        except BaseException:
            _release(file)
            raise
        self.samplerate, self.channels = self._sound.samplerate, self._sound.channels
        self.frames = self._sound.frames if self._sound.frames < NO_LENGTH and not estimated else None
        able = import_soundfile().SoundFile.seekable(self._sound)
        self.seekable = able and not estimated and self._sound.subtype not in NOT_SEEKABLE

    def read(self, frames: int) -> np.ndarray:
        return self._sound.read(frames, dtype="float32", always_2d=True)

    def seek(self, frame: int) -> None:
        self._sound.seek(frame)

    def close(self) -> None:
        self._sound.close()
        _release(self._file)


def _release(file: Any) -> None:
    if hasattr(file, "close"):
        file.close()


@lru_cache(1)
def _sequential() -> type[soundfile.SoundFile]:
    """soundfile's class without its seeking after each read, which not all formats allow."""

    class Sequential(import_soundfile().SoundFile):  # type: ignore[misc]
        def seekable(self) -> bool:
            return False

    return Sequential


class Stream:
    """The frames of one decoder at any place: by seeking, or else by decoding up to there.

    Args:
        open_decoder: opens the file anew.
        frames: how many there are; by default as the decoder says, or counted by decoding them all.
        inexact: the last frames, which are reached by decoding from the one before them on.

    Attributes:
        counted: whether they were counted.
    """

    def __init__(self, open_decoder: Callable[[], Decoder], frames: int | None = None, *, inexact: int = 0) -> None:
        self._inexact = inexact
        self._open, self._decoder, self._position = open_decoder, open_decoder(), 0
        self._recent: np.ndarray | None = None  # the last frames, where going back would mean to decode anew
        self.samplerate, self.channels = self._decoder.samplerate, self._decoder.channels
        stated = self._decoder.frames if frames is None else frames
        self.counted = stated is None
        self._seekable = self._decoder.seekable
        try:
            self.frames = self._count() if stated is None else stated
        except BaseException:
            self.close()
            raise

    def read(self, start: int, frames: int) -> np.ndarray:
        """`frames` frames from frame `start` on, float32 [T, C]; fewer where the file ends."""
        if self._seekable and start == self._position:
            block = self._decoder.read(frames)
            self._position += len(block)
            return block
        if self._seekable:
            try:
                return self._read_at(start, frames)
            except RuntimeError:  # libsndfile's: a damaged header may prevent no more than seeking
                self._seekable = False
                self._restart()
        kept = self._kept(start)
        self._advance(start + len(kept))
        block = self._decoder.read(max(0, frames - len(kept)))
        self._position += len(block)
        block = np.concatenate((kept, block)) if len(kept) else block
        self._recent = block[-BLOCK_FRAMES:].copy()
        return block[:frames]

    def close(self) -> None:
        """Release the file."""
        self._decoder.close()

    def _read_at(self, start: int, frames: int) -> np.ndarray:
        """`read` by seeking."""
        self._seek(start)
        block = self._decoder.read(frames)
        if len(block) < frames:  # libsndfile may fail to seek in a file that has been read from
            self._restart()
            self._seek(start)
            block = self._decoder.read(frames)
        self._position = start + len(block)
        return block

    def _seek(self, start: int) -> None:
        place = min(start, max(0, self.frames - self._inexact))
        self._decoder.seek(place)
        while place < start:
            skipped = len(self._decoder.read(min(BLOCK_FRAMES, start - place)))
            place += skipped
            if not skipped:
                return

    def _kept(self, start: int) -> np.ndarray:
        """The frames from `start` to the current position, if they are still there; none otherwise."""
        back = self._position - start
        if self._recent is None or not 0 < back <= len(self._recent):
            return np.empty((0, self.channels), np.float32)
        return self._recent[-back:]

    def _advance(self, frame: int) -> None:
        if frame < self._position:
            self._restart()
        while self._position < frame:
            block = self._decoder.read(min(BLOCK_FRAMES, frame - self._position))
            self._position += len(block)
            if not len(block):
                return

    def _count(self) -> int:
        self._advance(NO_LENGTH)
        frames = self._position
        self._restart()
        return frames

    def _restart(self) -> None:
        self._decoder.close()
        self._decoder, self._position, self._recent = self._open(), 0, None


class JoinedStream:
    """The frames of several streams one after the other, of which one is open at a time.

    Args:
        open_streams: each opens one of the streams, all of one sample rate and number of channels.
        lengths: their frames.
    """

    def __init__(self, open_streams: Sequence[Callable[[], Stream]], lengths: Sequence[int]) -> None:
        self._open, self._ends = list(open_streams), np.cumsum(lengths)
        self._number, self._stream = 0, open_streams[0]()
        self.samplerate, self.channels, self.frames = self._stream.samplerate, self._stream.channels, sum(lengths)

    def read(self, start: int, frames: int) -> np.ndarray:
        """As `Stream.read`."""
        blocks, done = [np.empty((0, self.channels), np.float32)], 0
        for number in range(int(np.searchsorted(self._ends, start, "right")), len(self._open)):
            if done == frames:
                break
            self._select(number)
            first = start + done - int(self._ends[number] - self._stream.frames)
            blocks.append(self._stream.read(first, min(frames - done, self._stream.frames - first)))
            done += len(blocks[-1])
        return np.concatenate(blocks)

    def close(self) -> None:
        """Release the file."""
        self._stream.close()

    def _select(self, number: int) -> None:
        if number != self._number:
            self._stream.close()
            self._number, self._stream = number, self._open[number]()
