"""The clips that a demonstration brings along: files of the user, or sentences spoken by espeak-ng."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from callbacks.metrics.resampling import resample
from callbacks.report.audio import read_audio
from codec.errors import InvalidValue, MissingDependency, UnreadableFile

LONGEST = 20.0  # s
HIGHEST = 1_000_000  # Hz: beyond it a rate is a mistake, and its resampling filter larger than memory
PEAK = 0.5  # of the spoken sentences
SPEAKER = "sources/demo/espeak.py"  # in the package data: a program that reads [voice, utterances], and imports nothing
SPOKEN = (
    ("English, a woman", "en-gb-x-rp+f5", "The ferry leaves at seven, so bring a coat and something to eat.", 150, 52),
    ("English, a man", "en-us+m6", "Nobody noticed the old clock until it stopped in the night.", 145, 40),
    ("German", "de+m8", "Am Morgen lag der Hafen still, und nur die Möwen waren schon wach.", 145, 45),
)  # fmt: skip


class Clip(NamedTuple):
    """A name and mono samples [T] as 16-bit integers, at the codecs' rate."""

    name: str
    samples: np.ndarray


def read_clips(files: Sequence[Path], rate: int) -> list[Clip]:
    """The clips of some files, mixed down and resampled to `rate` Hz; without files, three spoken sentences.

    Raises:
        UnreadableFile: a file is missing, damaged or empty.
        InvalidValue: a clip is longer than 20 s, or states a rate above 1 MHz.
        MissingDependency: nothing is given, and espeak-ng is not installed.
    """
    if not files:
        return _spoken(rate)
    return [Clip(file.stem, _samples(file, rate)) for file in files]


def _samples(file: Path, rate: int, *, peak: float | None = None) -> np.ndarray:
    if not file.is_file():
        raise UnreadableFile("There is no clip", file, remedy="give audio files with --clips")
    try:
        signal, own_rate = read_audio(file)
    except UnreadableFile as error:  # whose remedy is for the audio of a run
        raise UnreadableFile(str(file), allowed=error.allowed, remedy="give another file") from error
    if own_rate > HIGHEST:
        allowed = f"states {own_rate:,} Hz, and a clip of the page has {HIGHEST:,} Hz at most"
        raise InvalidValue(str(file), allowed=allowed, remedy="write it anew at its real rate")
    if not np.isfinite(signal).all():
        raise UnreadableFile(str(file), allowed="holds NaN or infinite samples", remedy="give another file")
    if len(signal) / own_rate > LONGEST:
        raise InvalidValue(
            str(file), allowed=f"lasts {len(signal) / own_rate:.0f} s, and a clip of the page {LONGEST:.0f} s at most",
            remedy="cut it",
        )  # fmt: skip
    mono = resample(signal.mean(axis=1, dtype=np.float64), own_rate, rate)
    if peak is not None:
        mono = mono * (peak / np.abs(mono).max())
    return np.clip(np.round(mono * 2**15), -(2**15), 2**15 - 1).astype("<i2")


def _spoken(rate: int) -> list[Clip]:
    if importlib.util.find_spec("espeakng_loader") is None:
        allowed = "needs clips, or espeakng-loader, which speaks some"
        raise MissingDependency("The page", allowed=allowed, remedy="give --clips FILE ..., or pip install '.[demo]'")
    data = importlib.util.find_spec("data")  # as a program: this package imports nothing of data
    assert data and data.origin, "the packages are installed together"
    program = str(Path(data.origin).parent / SPEAKER)
    with tempfile.TemporaryDirectory() as folder:
        clips = []
        for number, (name, voice, text, speed, pitch) in enumerate(SPOKEN):
            file = Path(folder, f"{number}.wav")
            job = json.dumps([voice, [[str(file), text, speed, pitch, 50]]])
            done = subprocess.run([sys.executable, program], input=job, capture_output=True, text=True)
            if done.returncode:
                why = done.stderr.strip().splitlines()[-1:] or ["it ended early"]
                raise UnreadableFile(
                    "The voice", voice, f"of espeak-ng does not speak ({why[0]})", "give audio files with --clips"
                )
            clips.append(Clip(f"{name} (espeak-ng)", _samples(file, rate, peak=PEAK)))
        return clips
