"""Measures random one-second crops read by seeking against decoding whole files.

Run as `python -m tests.benchmarks.crop_reading`.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from data.audio.reading import read_crop, read_whole

RATE = 16000


def make_files(folder: Path, count: int, minutes: float) -> list[Path]:
    """FLACs of noise whose level moves as that of speech does."""
    generator = np.random.default_rng(0)
    samples = round(60 * minutes * RATE)
    envelope = np.repeat(generator.random(samples // 800 + 1), 800)[:samples] ** 2
    paths = [folder / f"{number}.flac" for number in range(count)]
    for path in paths:
        soundfile.write(path, 0.2 * envelope * generator.standard_normal(samples), RATE)
    return paths


def measure(paths: list[Path], crops: int) -> tuple[float, float]:
    """Seconds for one crop: (by seeking, by decoding the whole file and slicing). The samples are compared."""
    positions = np.random.default_rng(1).random(crops)
    seeking = decoding = 0.0
    for number, position in enumerate(positions):
        path = paths[number % len(paths)]
        started = time.perf_counter()
        crop = read_crop(path, RATE, rates=(RATE,), position=position)
        between = time.perf_counter()
        whole = read_whole(path, (RATE,))[0][:, crop.start : crop.start + RATE]
        decoding += time.perf_counter() - between
        seeking += between - started
        assert np.array_equal(crop.waves[0].numpy(), whole.numpy())
    return seeking / crops, decoding / crops


def main() -> float:
    """Print the two times and their ratio; returns the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="length of each file")
    parser.add_argument("--files", type=int, default=4)
    parser.add_argument("--crops", type=int, default=60)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seeking, decoding = measure(make_files(Path(folder), options.files, options.minutes), options.crops)
    ratio = decoding / seeking
    print(f"one 1 s crop of a {options.minutes:g}-minute FLAC: {1e3 * seeking:.2f} ms by seeking, ", end="")
    print(f"{1e3 * decoding:.1f} ms by decoding the whole file: {ratio:.0f} times faster (at least 10 wanted)")
    return ratio


if __name__ == "__main__":
    sys.exit(0 if main() >= 10 else 1)
