"""A call between two network namespaces with 10 % loss and 50 ms of jitter: delay, concealment, memory over minutes.

    python -m tests.benchmarks.live_call --seconds 120

Needs the right to make network namespaces. The network is impaired by the kernel's netem where it has it, else by the
tests' relay; which one it was is printed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import numpy as np
import soundfile

from tests.support.namespaces import PORT, NoNamespaces, network
from tests.support.paths import ROOT
from tests.support.speech import speech_like

CALL = [sys.executable, "-m", "codec", "call", "--codec"]
MOMENTS = (10, 60, 120)  # seconds at which memory is told


def measure(codec: str, seconds: float, options: list[str], first: list[str]) -> dict[str, object]:
    """Call for some seconds; what was measured."""
    with tempfile.TemporaryDirectory() as name, network(loss=0.1, delay=20, jitter=50) as net:
        folder = Path(name)
        speech = np.tile(speech_like(0, 10.0), int(seconds / 10) + 1)[: round(seconds * 16_000)]
        soundfile.write(folder / "speech.wav", speech, 16_000)
        words = ["--listen", str(PORT), "--output", str(folder / "heard.wav"), "--stats", str(folder / "far.jsonl")]
        far = subprocess.Popen([*net.far, *first, *CALL, codec, *words, *options], cwd=ROOT, stderr=subprocess.PIPE)
        assert far.stderr is not None and b"Listening" in far.stderr.readline()
        words = ["--to", net.target, "--source", str(folder / "speech.wav"), "--stats", str(folder / "near.jsonl")]
        subprocess.run([*net.near, *first, *CALL, codec, *words], cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
        far.wait(60)
        near, heard = (read(folder / f"{side}.jsonl") for side in ("near", "far"))
        return report(net.kind, near, [line for line in heard if line["receiver"]["frames"]])


def read(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def report(kind: str, near: list[dict], far: list[dict]) -> dict[str, object]:
    """Delay from mouth to ear by the monotonic clock that both sides share, and what the receiver counted."""
    frame, spoken = near[-1]["sender"]["spoken"]
    delays = []
    for line in far[5:]:
        number, played = line["receiver"]["played"]
        delays.append(played - (spoken + (number - frame) * 0.02))
    counts, began = far[-1]["receiver"], far[0]["seconds"]
    memory = {
        f"memory_mb_at_{moment}_s": min(far, key=lambda line: abs(line["seconds"] - began - moment))["memory_mb"]
        for moment in MOMENTS
        if far[-1]["seconds"] - began > moment - 5
    }
    return {
        "network": kind,
        "seconds": round(far[-1]["seconds"] - began, 1),
        "delay_ms": round(1000 * median(delays)),
        "delay_ms_range": [round(1000 * min(delays)), round(1000 * max(delays))],
        "sender_delay_ms": near[-1]["sender"]["delay_ms"],
        "buffer_ms": median(line["receiver"]["buffer_ms"] for line in far[5:]),
        "target_ms": median(line["receiver"]["target_ms"] for line in far[5:]),
        "encoding_ms_each_second": median(line["sender"]["encoding_ms"] for line in near),
        "decoding_ms_each_second": median(line["receiver"]["decoding_ms"] for line in far),
        "concealed_share": round(counts["concealed"] / counts["frames"], 4),
        **{name: counts[name] for name in ("frames", "lost", "late", "reordered", "inserted", "dropped", "stalls")},
        **memory,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--codec", default="small_fsq")
    parser.add_argument("--first", default="", help="begins both command lines, such as 'chrt -f 1' on a busy machine")
    parser.add_argument("options", nargs="*", help="further options of the receiver, after --")
    chosen = parser.parse_args()
    try:
        found = measure(chosen.codec, chosen.seconds, chosen.options, chosen.first.split())
    except NoNamespaces as error:
        sys.exit(str(error))
    for name, value in found.items():
        print(f"{name:<26} {value}")


if __name__ == "__main__":
    main()
