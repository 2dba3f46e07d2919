"""Where a call's speech comes from and where it is heard: files, microphone and loudspeaker, at the pace of speech."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import torch
from torch import Tensor

from codec.errors import InvalidValue, MissingDependency, first_line
from codec.layers.inputs import check_level
from codec.transport.sound import SoundWriter, read_sound

MICROPHONE, LOUDSPEAKER = "mic", "speaker"


class Source(Protocol):
    """Gives speech as it is spoken.

    Attributes:
        ends: whether it ends by itself.
        behind: seconds by which the latest piece was late, as the process had other work.
    """

    ends: bool
    behind: float

    def pieces(self, size: int, stop: threading.Event) -> Iterator[Tensor]:
        """Pieces float32 `[1, 1, size]`, the last may be shorter, each when its end was spoken; until `stop`."""


class Sink(Protocol):
    """Takes what is to be heard.

    Attributes:
        paces: whether `write` waits until there is room for more, so that the device's clock sets the pace.
    """

    paces: bool

    def write(self, audio: Tensor) -> None:
        """Play samples float32 `[T]`."""

    def close(self) -> None:
        """Complete what was written."""


class FileSource:
    """A file, resampled, at the pace at which it would be spoken."""

    ends = True

    def __init__(self, path: str | Path, sample_rate: int) -> None:
        sound = read_sound(path)
        self.sound = sound._replace(pieces=map(_checked, sound.pieces))
        self.sample_rate, self.behind = sample_rate, 0.0

    def pieces(self, size: int, stop: threading.Event) -> Iterator[Tensor]:
        began = time.monotonic()
        spoken = 0
        for piece in _cut(self.sound.resampled(self.sample_rate), size):
            spoken += piece.shape[-1]
            due = began + spoken / self.sample_rate
            if stop.wait(max(0.0, due - time.monotonic())):
                return
            self.behind = max(0.0, time.monotonic() - due)
            yield piece


def _checked(piece: Tensor) -> Tensor:
    check_level(piece)
    return piece


def _cut(parts: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """The same audio in pieces of one size; the last may be shorter."""
    held = torch.zeros(1, 1, 0)
    for part in parts:
        held = torch.cat((held, part), -1)
        whole = held.shape[-1] // size * size
        yield from held[..., :whole].split(size, -1) if whole else ()
        held = held[..., whole:]
    if held.shape[-1]:
        yield held


class Microphone:
    """The system's microphone.

    Raises:
        MissingDependency: the package sounddevice or its library PortAudio is missing.
        InvalidValue: there is no microphone that gives the sample rate.
    """

    ends = False

    def __init__(self, sample_rate: int) -> None:
        self.behind = 0.0
        self._stream = _opened("InputStream", "microphone", sample_rate)

    def pieces(self, size: int, stop: threading.Event) -> Iterator[Tensor]:
        with self._stream as stream:
            while not stop.is_set():
                samples, _ = stream.read(size)
                yield torch.from_numpy(np.array(samples[:, 0], np.float32))[None, None]


class FileSink:
    """A sound file; the receiver sets the pace."""

    paces = False

    def __init__(self, target: str | Path | BinaryIO, sample_rate: int, *, suffix: str = "") -> None:
        self._writer = SoundWriter(target, sample_rate, suffix=suffix)

    def write(self, audio: Tensor) -> None:
        self._writer.write(audio)

    def close(self) -> None:
        self._writer.close()


class Loudspeaker:
    """The system's loudspeaker, which sets the pace; raises as `Microphone`."""

    paces = True

    def __init__(self, sample_rate: int) -> None:
        self._stream = _opened("OutputStream", "loudspeaker", sample_rate)
        self._stream.start()

    def write(self, audio: Tensor) -> None:
        self._stream.write(audio.clamp(-1, 1).numpy()[:, None])

    def close(self) -> None:
        self._stream.close()


def _opened(kind: str, name: str, sample_rate: int) -> Any:
    """A mono stream of sounddevice."""
    try:
        import sounddevice
    except ImportError as error:
        raise MissingDependency(
            f"The {name}", allowed="needs the package sounddevice", remedy="pip install '.[live]'"
        ) from error
    except OSError as error:  # the package is there, the library that it loads is not
        remedy = "install it, on Debian by apt-get install libportaudio2"
        raise MissingDependency(f"The {name}", allowed="needs the library PortAudio", remedy=remedy) from error
    try:
        return getattr(sounddevice, kind)(samplerate=sample_rate, channels=1, dtype="float32", latency="low")
    except (sounddevice.PortAudioError, ValueError) as error:
        allowed = f"cannot be opened at {sample_rate} Hz ({first_line(error)})"
        raise InvalidValue(f"The {name}", None, allowed, "choose another in the system's settings") from error
