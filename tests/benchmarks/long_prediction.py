"""Measures `train.py predict` of a long recording with small_fsq: memory and time, and the written length.

Run as `python -m tests.benchmarks.long_prediction --minutes 60`.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.support.arguments import positive
from tests.support.paths import ROOT
from tests.support.speech import speech_like

MAX_MEGABYTES = 1500  # for any length; a process with the libraries and the weights alone takes about 700
COMMAND = (
    "predict --config configs/small/fsq.yaml --model.init_args.init_from small_fsq --trainer.precision 32-true "
    "--trainer.accelerator cpu --trainer.enable_model_summary false"
).split()


def write_recording(path: Path, seconds: float, rate: int) -> None:
    """A recording of repeated speech-like sound, written in blocks of a minute."""
    minute = speech_like(0, 60.0, rate=rate)
    frames = round(seconds * rate)
    with soundfile.SoundFile(path, "w", rate, 1, "PCM_16") as file:
        for first in range(0, frames, len(minute)):
            file.write(np.roll(minute, first // 7)[: min(len(minute), frames - first)])


def measure(folder: Path, *, seconds: float, rate: int, workers: int) -> tuple[float, float, float, float]:
    """Largest memory of a process in MB, seconds taken, those of CPU cores, and seconds written."""
    (folder / "in").mkdir()
    write_recording(folder / "in/long.flac", seconds, rate)
    options = {
        "--data.predict_from": folder / "in",
        "--data.num_workers": workers,
        "--predictions.output_dir": folder / "out",
        "--trainer.logger.init_args.save_dir": folder / "runs",
    }
    words = [str(word) for option in options.items() for word in option]
    started = time.perf_counter()
    subprocess.run([sys.executable, ROOT / "train.py", *COMMAND, *words], cwd=ROOT, check=True)
    took = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    info = soundfile.info(folder / "out/long.wav")
    return used.ru_maxrss / 1000, took, used.ru_utime + used.ru_stime, info.frames / info.samplerate


def main() -> bool:
    """Print what was measured; returns whether all was written in bounded memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=positive, default=60.0)
    parser.add_argument("--rate", type=int, default=16_000)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    seconds = 60 * options.minutes
    with tempfile.TemporaryDirectory() as folder:
        largest, took, cores, written = measure(
            Path(folder), seconds=seconds, rate=options.rate, workers=options.workers
        )
    print(
        f"{seconds:.0f} s at {options.rate} Hz: {written:.1f} s written in {took:.0f} s, {cores:.0f} s of CPU cores: "
    )
    print(f"{seconds / took:.0f} and {seconds / cores:.0f} times real time; ", end="")
    print(f"at most {largest:.0f} MB in a process (at most {MAX_MEGABYTES} wanted)")
    return abs(written - seconds) < 0.1 and largest <= MAX_MEGABYTES


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
