"""Measures `python -m codec` on a long recording: memory beside a minute's, speed, and the bytes of the stream.

Run as `python -m tests.benchmarks.long_stream --minutes 60`.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.benchmarks.long_prediction import write_recording
from tests.support.arguments import positive
from tests.support.paths import ROOT

MAX_GROWTH = 1.25  # memory of the whole recording over that of a minute of it
RATE = 16_000


class Run(NamedTuple):
    """Wall seconds, those of CPU cores, and the largest memory in MB of a command."""

    seconds: float
    cores: float
    megabytes: float


def command(*words: object) -> Run:
    started = time.perf_counter()
    pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "codec", *map(str, words)], os.environ)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"python -m codec {words[0]} failed")
    return Run(time.perf_counter() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1000)


def commands(folder: Path, seconds: float) -> dict[str, Run]:
    """Encode, transmit at 10 % of bits flipped, and decode a recording."""
    write_recording(folder / "in.wav", seconds, RATE)
    return {
        "encode": command("encode", folder / "in.wav", folder / "sent.nsc"),
        "transmit": command("transmit", folder / "sent.nsc", folder / "received.nsc", "--ber", 0.1),
        "decode": command("decode", folder / "received.nsc", folder / "out.wav"),
    }


def main() -> bool:
    """Print what was measured; returns whether memory is bounded and no byte is wasted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=positive, default=60.0)
    seconds = 60 * parser.parse_args().minutes
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory() as folder:
        short = commands(Path(folder), 60.0)

        found = commands(Path(folder), seconds)
        size = (Path(folder) / "sent.nsc").stat().st_size
    bounded = True
    for name, run in found.items():
        start = short[name]
        more = run.seconds - start.seconds  # without what starting takes
        speed = f"{(seconds - 60) / more:.0f}" if more > 0.5 else "too fast to tell"
        print(
            f"{name}: {run.seconds:.1f} s, {run.cores:.1f} s of CPU cores, {seconds / run.seconds:.0f} times real time "
            f"({speed} without what a minute takes), {run.megabytes:.0f} MB (a minute: {start.megabytes:.0f} MB)"
        )
        bounded &= run.megabytes <= MAX_GROWTH * start.megabytes
    expected = 64 + 2 * -(-round(seconds * RATE) // 320)
    print(f"stream: {size} bytes for {seconds:.0f} s, {expected} expected")
    return bounded and size == expected


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
