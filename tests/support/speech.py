"""Audio files for tests: small corpora of speech-like recordings, files of noise, and files that cannot be used."""

import tempfile
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile


def speech_like(seed: int, seconds: float = 1.2, *, rate: int = 16_000) -> np.ndarray:
    """Harmonics of a gliding pitch under a syllable envelope, with some noise: [T], float32, peak 0.5."""
    generator = np.random.default_rng(seed)
    time = np.arange(int(seconds * rate)) / rate
    pitch = 110 + 60 * generator.random() + 20 * np.sin(2 * np.pi * 1.3 * time + seed)
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    voiced = sum(np.sin(k * phase + seed) / k for k in range(1, 25))
    envelope = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time + generator.random())
    signal = envelope * voiced + 0.02 * generator.standard_normal(len(time))
    return (0.5 * signal / np.abs(signal).max()).astype(np.float32)


def write_speech(
    folder: Path,
    seconds: Sequence[float] = (1.25, 1.26, 1.27),
    *,
    speakers: Sequence[str] = (),
    rates: Sequence[int] = (16_000,),
    extension: str = "wav",
) -> Path:
    """Write a corpus of speech-like recordings, and a list of them in manifest.tsv; returns `folder`.

    Args:
        folder: is made; the recordings are 0.wav, 1.wav and so on.
        seconds: lengths of the recordings.
        speakers: each gets a folder of their own with recordings of these lengths; none for recordings in `folder`.
        rates: sample rates in Hz, used in turn.
        extension: the audio format, such as "wav" or "flac".
    """
    rows = ["path\tseconds\tspeaker\n"]
    for speaker in speakers or ("",):
        (folder / speaker).mkdir(parents=True, exist_ok=True)
        for number, length in enumerate(seconds):
            path, rate = folder / speaker / f"{number}.{extension}", rates[number % len(rates)]
            path.write_bytes(_speech_file(len(rows), length, rate, path.suffix))
            rows.append(f"{path.relative_to(folder).as_posix()}\t{int(length * rate) / rate}\t{speaker}\n")
    (folder / "manifest.tsv").write_text("".join(rows))
    return folder


def write_noise(path: Path, seconds: float = 2.0, *, rate: int = 16_000, channels: int = 1, **options: str) -> Path:
    """Write white noise, a function of the file's name, and return the path; `options` go to soundfile.

    Its folder is made. Noise compresses badly: a third of a lossless file is about a third of the audio.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = round(seconds * rate), channels
    path.write_bytes(_noise_file(sum(path.name.encode()), shape, rate, path.suffix, tuple(options.items())))
    return path


@lru_cache(128)  # tests ask for the same files again and again
def _speech_file(seed: int, seconds: float, rate: int, suffix: str) -> bytes:
    return _encoded(speech_like(seed, seconds, rate=rate), rate, suffix)


@lru_cache(128)
def _noise_file(
    seed: int, shape: tuple[int, int], rate: int, suffix: str, options: tuple[tuple[str, str], ...]
) -> bytes:
    samples = 0.1 * np.random.default_rng(seed).standard_normal(shape)
    return _encoded(samples.astype(np.float32), rate, suffix, **dict(options))


def _encoded(samples: np.ndarray, rate: int, suffix: str, **options: str) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=suffix) as file:
        soundfile.write(file.name, samples, rate, **options)
        return file.read()


def write_nan(path: Path) -> None:
    """2 s with a NaN in every 100 samples."""
    samples = np.zeros(32_000, dtype=np.float32)
    samples[::100] = np.nan
    soundfile.write(path, samples, 16_000, subtype="FLOAT")


def write_truncated(path: Path) -> None:
    """The first third of a file of 8 s."""
    write_noise(path, 8.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 3])


UNUSABLE: dict[str, Callable[[Path], object]] = {
    "empty": Path.touch,
    "headeronly": lambda path: soundfile.write(path, np.zeros(0), 16_000),
    "text": lambda path: path.write_bytes(b"this is not audio " * 500),
    "nan": write_nan,
    "truncated.wav": write_truncated,
    "truncated.flac": write_truncated,
    "folder": Path.mkdir,
    "link": lambda path: path.symlink_to(path.with_name("gone")),
}


def write_unusable(folder: Path, kind: str) -> Path:
    """Write a file of one of the kinds in UNUSABLE, named after its kind, below `folder`; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (kind if "." in kind else f"{kind}.wav")
    UNUSABLE[kind](path)
    return path
