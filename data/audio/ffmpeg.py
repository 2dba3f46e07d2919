"""The optional decoder, PyAV, for what soundfile does not read: .m4a, .aac, .mp4, .webm, .wma and others of FFmpeg."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np

from data.errors import AudioReadError

REMEDY = "its format needs FFmpeg: pip install av, or convert it to FLAC"
NOT_AUDIO = "not audio: no format that soundfile reads"


def needs_ffmpeg(head: bytes) -> bool:
    """Whether the first bytes of a file are those of a format that only FFmpeg reads."""
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # AAC (ADTS)
        return True
    return head[4:8] == b"ftyp" or head.startswith(
        (b"\x1aE\xdf\xa3", b"0&\xb2u\x8ef\xcf\x11", b"#!AMR", b"ADIF", b"FLV")
    )


def import_av() -> ModuleType | None:
    """The module `av`, or None where it is not installed."""
    try:
        import av
    except ImportError:
        return None
    return av


class AvDecoder:
    """The first sound stream of a file as a `Decoder` (see `data.audio.streams`), from its beginning on.

    Raises AudioReadError where FFmpeg fails, with the remedy where it is not installed.
    """

    samplerate: int
    channels: int
    frames: int | None = None
    seekable = False

    def __init__(self, path: str, file: Any, *, known: bool) -> None:
        self._path, self._file, self._done = path, file, 0
        self._container: Any = None
        try:
            self._open(known=known)
        except BaseException:
            self.close()
            raise

    def _open(self, *, known: bool) -> None:
        self._av: Any = import_av()
        if self._av is None:
            raise AudioReadError(self._path, REMEDY if known else NOT_AUDIO)
        try:
            self._container = self._av.open(self._file, **_tags(self._av))
        except (self._av.FFmpegError, ValueError, EOFError) as error:
            reason = f"truncated or damaged: {_sentence(error)}" if known else NOT_AUDIO
            raise AudioReadError(self._path, reason) from error
        if not self._container.streams.audio:
            raise AudioReadError(self._path, "holds no sound" if known else NOT_AUDIO)
        self._stream = self._container.streams.audio[0]
        self._blocks = self._decode()
        self._rest = next(self._blocks, None)  # the decoder knows rate and channels after its first frame
        if self._rest is None:
            raise AudioReadError(self._path, "empty: no samples, or none that can be decoded")

    def read(self, frames: int) -> np.ndarray:
        parts, done = [np.empty((0, self.channels), np.float32)], 0
        while done < frames and self._rest is not None:
            part = self._rest[: frames - done]
            parts.append(part)
            done += len(part)
            self._rest = self._rest[len(part) :] if len(part) < len(self._rest) else next(self._blocks, None)
        self._done += done
        if done < frames:
            self._refuse_shortened()
        return np.concatenate(parts)

    def seek(self, frame: int) -> None:
        raise NotImplementedError("read from the beginning")

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        if hasattr(self._file, "close"):
            self._file.close()

    def _decode(self) -> Iterator[np.ndarray]:
        """Blocks of float32 [T, C], at the rate and with the channels of the first one."""
        resampler = None
        try:
            for frame in self._container.decode(self._stream):
                if resampler is None:
                    self.samplerate, self.channels = frame.sample_rate, len(frame.layout.channels)
                    resampler = self._av.AudioResampler("fltp", frame.layout, frame.sample_rate)
                for block in resampler.resample(frame):
                    yield block.to_ndarray().T
        except (self._av.FFmpegError, ValueError) as error:
            raise AudioReadError(self._path, f"truncated or damaged: {_sentence(error)}") from error

    def _refuse_shortened(self) -> None:
        """Raise AudioReadError where the sound ends long before the container says."""
        stated, found = self._stated_seconds(), self._done / self.samplerate
        if found < 0.9 * stated - 0.2:
            raise AudioReadError(self._path, f"truncated: {found:.2f} s of the {stated:.2f} s that its header states")

    def _stated_seconds(self) -> float:
        """The length in the header of the stream, or else of a container of one stream; 0 where neither states it."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        alone = len(self._container.streams) == 1
        return (self._container.duration or 0) / self._av.time_base if alone else 0.0


def _tags(av: ModuleType) -> dict[str, str]:
    """Options that let tags be no UTF-8: PyAV 19 has none, before it they are refused unless told."""
    return {"metadata_errors": "ignore"} if int(av.__version__.split(".")[0]) < 19 else {}


def _sentence(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).strip()
