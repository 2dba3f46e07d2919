"""Audio files and pipes, read and written piece by piece: any rate and length in bounded memory."""

import shutil
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

import numpy as np
import soundfile
import torch
from torch import Tensor

from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.training.clip_pieces import ResampledPieces

PIECE_SECONDS = 10.0
SUFFIXES = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aif", ".aiff", ".au", ".caf", ".w64", ".rf64")
WRITABLE = (".wav", ".flac", ".ogg")
LONGEST = 2**40  # samples; a header that states more states no length
ENDLESS = 0xFFFFFFFF  # sizes in the WAV header of a pipe


class Sound(NamedTuple):
    """Audio that is read piece by piece.

    Attributes:
        sample_rate: in Hz.
        samples: of the whole; None where that is not known.
        pieces: float32 `[1, 1, n]` each, the mean of all channels.
    """

    sample_rate: int
    samples: int | None
    pieces: Iterator[Tensor]

    def resampled(self, sample_rate: int) -> Iterator[Tensor]:
        """The pieces at another rate, of a second of the sound at most: little work at a time."""
        resampled = ResampledPieces(self.sample_rate, sample_rate)
        for piece in self.pieces:
            for second in piece.split(self.sample_rate, -1):
                yield from resampled.push(second)
        yield from resampled.finish()


def read_sound(source: str | Path, *, raw_rate: int | None = None) -> Sound:
    """Read a file, or "-" for standard input.

    Args:
        source: path of what soundfile reads; a file in a pipe is copied to the disk first, as most formats must be
            sought in.
        raw_rate: the sample rate of samples without a header, 16 bits each, little-endian, one channel; they are read
            as they come.

    Raises:
        UnreadableFile: there is no such file, or it is no audio.
    """
    if raw_rate is not None:
        check_rate("raw", raw_rate)
        return Sound(raw_rate, None, _raw_pieces(source, raw_rate))
    if str(source) == "-":
        spool = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sound
        shutil.copyfileobj(sys.stdin.buffer, spool)
        spool.seek(0)
        return _open(spool, "standard input")
    if not Path(source).is_file():
        raise UnreadableFile("There is no audio file", source, remedy="give a file, a folder, or - for standard input")
    return _open(str(source), str(source))


def _open(file: str | IO[bytes], name: str) -> Sound:
    try:
        sound = _Sequential(file)
        if sound.frames == 0 and sound.format == "WAV" and (samples := _mended_wav(file)) is not None:
            sound.close()
            file, sound = samples, _Sequential(samples)
    except (RuntimeError, TypeError) as error:
        remedy = "convert it to .wav or .flac, or state --raw RATE for samples without a header"
        raise UnreadableFile(name, None, f"cannot be read as audio ({first_line(error)})", remedy) from error
    check_rate(f"The sample rate of {name}", sound.samplerate)
    spool: AbstractContextManager[object] = nullcontext() if isinstance(file, str) else file
    stated = sound.frames if 0 <= sound.frames < LONGEST else None
    return Sound(sound.samplerate, stated, _pieces(sound, name, spool))


def check_rate(name: str, rate: int) -> None:
    """Raise InvalidValue for a sample rate that no recording has."""
    if not 1_000 <= rate <= 1_000_000:
        raise InvalidValue(name, rate, "must be 1,000 to 1,000,000 Hz", "resample it, or state the right one")


class _Sequential(soundfile.SoundFile):
    """Read from front to back whatever length the header states, also where the decoder cannot seek."""

    def seekable(self) -> bool:
        return False


def _mended_wav(file: str | IO[bytes]) -> IO[bytes] | None:
    """A copy of a WAV file whose header states no samples, as some programs write it into pipes, with its true sizes.

    None where the file holds no more than its header.
    """
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the sound
    with open(file, "rb") if isinstance(file, str) else nullcontext(file) as source:
        source.seek(0)
        shutil.copyfileobj(source, copy)
    size, place = copy.tell(), 12
    while place + 8 < size:
        copy.seek(place)
        name, count = struct.unpack("<4sI", copy.read(8))
        if name == b"data":
            copy.seek(place + 4)
            copy.write(struct.pack("<I", min(size - place - 8, ENDLESS)))
            copy.seek(4)
            copy.write(struct.pack("<I", min(size - 8, ENDLESS)))
            copy.seek(0)
            return copy
        place += 8 + count + count % 2
    copy.close()
    return None


def _pieces(sound: soundfile.SoundFile, name: str, spool: AbstractContextManager[object]) -> Iterator[Tensor]:
    size = max(1, round(PIECE_SECONDS * sound.samplerate))
    done = 0
    with spool, sound:
        while True:
            try:
                samples = sound.read(size, dtype="float32", always_2d=True)
            except RuntimeError as error:
                allowed = f"cannot be read beyond {done} samples ({first_line(error)})"
                raise UnreadableFile(name, None, allowed, "convert it to .wav or .flac") from error
            if not len(samples):
                return
            done += len(samples)
            yield torch.from_numpy(samples.mean(1))[None, None]


def _raw_pieces(source: str | Path, rate: int) -> Iterator[Tensor]:
    file: BinaryIO
    try:
        file = sys.stdin.buffer if str(source) == "-" else open(source, "rb")  # noqa: SIM115 - closed below
    except OSError as error:
        raise UnreadableFile(str(source), None, f"cannot be read ({error.strerror})", "give another file") from error
    with file:
        held = b""
        while data := file.read(2 * max(1, round(PIECE_SECONDS * rate))):
            held += data
            whole = len(held) // 2 * 2
            samples = np.frombuffer(held[:whole], "<i2").astype(np.float32) / 32768
            held = held[whole:]
            if len(samples):
                yield torch.from_numpy(samples)[None, None]
        if held:
            raise UnreadableFile("The samples end in the middle of one", remedy="give 16 bits a sample")


class SoundWriter:
    """Writes mono audio of 16 bits piece by piece, to a file by its suffix or as WAV or bare samples to a stream.

    What lies beyond [−1, 1] is clipped, and counted in `clipped`.

    Args:
        target: path ending in .wav, .flac or .ogg; or a stream open for writing.
        sample_rate: in Hz.
        raw: write no header; to streams alone.

    Raises:
        InvalidValue: another suffix.
        UnreadableFile: the file cannot be written.
    """

    def __init__(self, target: str | Path | BinaryIO, sample_rate: int, *, suffix: str = "", raw: bool = False) -> None:
        self.clipped = self.samples = 0
        self._stream: BinaryIO | None = None
        self._file: soundfile.SoundFile | None = None
        if not isinstance(target, (str, Path)):
            self._stream = target
            if not raw:
                target.write(_wav_header(sample_rate))
            return
        suffix = suffix or Path(target).suffix.lower()
        if suffix not in WRITABLE:
            raise InvalidValue("The suffix of", target, f"must be one of {', '.join(WRITABLE)}")
        try:
            subtype = "VORBIS" if suffix == ".ogg" else "PCM_16"
            self._file = soundfile.SoundFile(target, "w", sample_rate, 1, subtype, format=suffix[1:].upper())
        except RuntimeError as error:
            raise UnreadableFile(
                str(target), None, f"cannot be written ({first_line(error)})", "give another"
            ) from error

    def write(self, audio: Tensor) -> None:
        """Write `[T]` float samples."""
        self.clipped += int((audio.abs() > 1).sum())
        self.samples += len(audio)
        audio = audio.clamp(-1, 1)
        if self._file is not None:
            try:
                self._file.write(audio.numpy())
            except RuntimeError as error:
                raise UnreadableFile("The audio", None, "cannot be written to the end", "free some space") from error
        elif self._stream is not None:
            self._stream.write((audio * 32767).round().numpy().astype("<i2").tobytes())
            self._stream.flush()

    def close(self) -> None:
        """Complete the file; a stream stays open."""
        if self._file is not None:
            self._file.close()


def _wav_header(sample_rate: int) -> bytes:
    """Header of mono 16-bit WAV of unknown length, as programs write it into pipes."""
    form = struct.pack(
        "<4sI4s4sIHHIIHH", b"RIFF", ENDLESS, b"WAVE", b"fmt ", 16, 1, 1, sample_rate, 2 * sample_rate, 2, 16
    )
    return form + struct.pack("<4sI", b"data", ENDLESS)
