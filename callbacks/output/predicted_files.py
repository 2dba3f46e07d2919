"""The files of a prediction: audio as WAV and codes as an archive, written at once or as a long clip's pieces come."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from codec.errors import UnreadableFile, first_line

WAV_BYTES = 2**32 - 2**12  # of samples in a WAV file; a longer one is an RF64 file, under the same name


class Counts:
    """By file, how many samples were clipped, and how many were not finite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clipped: dict[str, int] = {}
        self.not_finite: dict[str, int] = {}

    def pcm(self, path: Path, audio: Tensor) -> np.ndarray:
        """Audio `[T]` as int16, with zeros for what is not finite; what is lost is counted for the file."""
        signal = audio.detach().float().cpu().numpy()
        finite = np.isfinite(signal)
        signal = np.where(finite, signal, 0)
        name = str(path.relative_to(self.folder))
        for found, count in ((self.not_finite, (~finite).sum()), (self.clipped, (np.abs(signal) > 1).sum())):
            if count:
                found[name] = found.get(name, 0) + int(count)
        # PCM's largest value is 1 - 2^-15; the codec's range is symmetric.
        return np.round(np.clip(signal, -1, 1) * 32767).astype(np.int16)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, an error of the file system becomes an UnreadableFile that names the path."""
    try:
        yield
    except OSError as error:
        raise UnreadableFile(
            str(error.filename or path),
            allowed=f"cannot be written ({error.strerror or error})",
            remedy="give a folder with room for new files as predictions.output_dir",
        ) from error


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """Inside, a file is written; what an error of the file system leaves of it is removed."""
    try:
        yield path
    except OSError:
        with suppress(OSError):  # a folder of that name
            path.unlink()
        raise


def write_audio(path: Path, samples: np.ndarray, *, rate: int) -> None:
    """Write `path`.wav from int16 samples."""
    import soundfile

    wav = io.BytesIO()  # Python writes the file: its errors have a reason
    soundfile.write(wav, samples, rate, format="WAV", subtype="PCM_16")
    with _whole(Path(f"{path}.wav")) as file:
        file.write_bytes(wav.getvalue())


def write_codes(path: Path, codes: np.ndarray, *, codec: Any, length: int) -> None:
    """Write `path`.codes.npz from codes [K, F] and the length of the input in samples."""
    with _whole(Path(f"{path}.codes.npz")) as file:
        np.savez_compressed(
            file,
            codes=codes,
            sample_rate=codec.sample_rate,
            output_sample_rate=codec.output_sample_rate,
            hop_length=codec.hop_length,
            length=length,
            output_length=codec.output_length(length),
            codebook_sizes=np.array(tuple(codec.quantizer.codebook_sizes)),
        )


def smallest(codes: Tensor, codec: Any) -> np.ndarray:
    """Codes in the smallest unsigned type that holds the codec's."""
    return codes.cpu().numpy().astype(np.min_scalar_type(max(codec.quantizer.codebook_sizes) - 1))


class GrowingFiles:
    """The files of a long clip, whose audio is written piece by piece; the WAV file has its name when it is complete.

    Args:
        path: of the files, without their extensions.
        codec: whose prediction they hold.
        samples: of the audio to come, about; a file of more than 4 GB is RF64.
    """

    def __init__(self, path: Path, codec: Any, *, samples: int) -> None:
        import soundfile

        self.path, self._codec = path, codec
        self._codes: list[np.ndarray] = []
        self._part = Path(f"{path}.wav.part")
        kind = "RF64" if 2 * samples > WAV_BYTES else "WAV"
        self._part.write_bytes(b"")  # the library's errors have no reason
        self._wav = soundfile.SoundFile(
            os.fsencode(self._part), "w", codec.output_sample_rate, 1, "PCM_16", format=kind
        )

    def add(self, samples: np.ndarray, codes: Tensor) -> None:
        """Append audio, int16 [n], and codes [K, f]; raises OSError."""
        try:
            self._wav.write(samples)
        except (RuntimeError, AssertionError) as error:  # soundfile's, of which the second is short of what was written
            space = os.statvfs(self._part.parent)
            full = space.f_bavail * space.f_frsize < 1 << 20
            reason = os.strerror(errno.ENOSPC) if full else first_line(error)
            raise OSError(errno.ENOSPC if full else errno.EIO, reason, str(self._part)) from error
        self._codes.append(smallest(codes, self._codec))

    def finish(self, length: int) -> None:
        """Close the files of a clip of `length` input samples; raises OSError."""
        self._wav.close()
        write_codes(self.path, np.concatenate(self._codes, -1), codec=self._codec, length=length)
        self._part.replace(f"{self.path}.wav")

    def abandon(self) -> None:
        """Leave nothing of a clip that did not come to its end."""
        self._wav.close()
        self._part.unlink(missing_ok=True)


def at_input_level(audio: Tensor, outputs: Mapping[str, Any], row: int = 0) -> Tensor:
    """Audio at the level of the file that was encoded: without the gain that the data module gave it, if any."""
    gain_db = float(outputs["gain_db"][row]) if "gain_db" in outputs else 0.0
    return audio if gain_db == 0.0 else audio * 10 ** (-gain_db / 20)
