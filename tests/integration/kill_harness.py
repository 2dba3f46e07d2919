"""Kills one small training run with SIGKILL again and again, resumes it each time, and compares it with a whole one.

    python -m tests.integration.kill_harness [--kills 20] [--quantizer fsq] [--accumulate 1] [--seed 0] [--folder DIR]

The run has all that could lose its place: discriminators, EMA, codebook counts, a channel in training, a data worker
with augmentation, a validation with channel scores in processes of their own, and a checkpoint every four batches. Each
kill is aimed from outside at what files and output show: a worker that starts, a checkpoint half written, a
validation, a training step, or just any time. Exit status 1 if the two runs differ in a bit.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import yaml
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tests.support.paths import ROOT
from tests.support.speech import write_speech

COMPARED = ("state_dict", "codec_ema", "optimizer_states", "gradient_norms", "codebook_usage", "skipped_steps")
TIMINGS = "throughput/"
BAR = re.compile(r"(Sanity Checking|Validation|Training)[^|\n]*\|[^|\n]*\| *(\d+/\d+)")
QUANTIZERS = {
    "fsq": {"class_path": "codec.FSQ", "init_args": {"dim": 48, "levels": [4] * 8}},
    "rvq": {
        "class_path": "codec.RVQ",
        "init_args": {
            "dim": 48,
            "codebooks": [{"class_path": "codec.EMACodebook", "init_args": {"size": 32, "dim": 8}}] * 2,
        },
    },
}


class Kill(NamedTuple):
    """One kill: what it was aimed at, the progress bar that moved last, and whether a write was cut."""

    aim: str
    shown: str
    half_written: bool


class Run:
    """A training run in a folder of its own, started as often as needed."""

    def __init__(self, folder: Path, speech: Path, *, batches: int, quantizer: str, accumulate: int) -> None:
        folder.mkdir(parents=True)
        self.folder, self.checkpoints = folder, folder / "run" / "checkpoints"
        self.settings = folder / "settings.yaml"
        settings = configuration(speech, folder, batches=batches, quantizer=quantizer, accumulate=accumulate)
        self.settings.write_text(yaml.safe_dump(settings))
        self.output = folder / "output.txt"

    def start(self, *words: str) -> subprocess.Popen:
        """Start or resume it, with further options."""
        command = [sys.executable, "train.py", "fit", "--config", "configs/quickstart.yaml"]
        command += ["--config", str(self.settings), "--ckpt_path", "auto", *words]
        threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        with self.output.open("wb") as output:
            return subprocess.Popen(
                command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **threads}
            )

    def finish(self) -> None:
        """Let it run to its end."""
        process = self.start()
        assert process.wait(1000) == 0, self.shown(3000)

    def shown(self, characters: int = 90) -> str:
        """The end of what it has printed."""
        text = self.output.read_text(errors="replace").replace("\r", "\n").strip()
        return text[-characters:]

    def kill_at(self, aim: str, rng: random.Random) -> Kill | None:
        """Start it and kill it at a moment of some kind; None if it ended before."""
        process = self.start()
        reached = MOMENTS[aim](self, process, rng)
        while not reached() and process.poll() is None:
            time.sleep(0.0005)
        if process.poll() is not None:
            assert process.returncode == 0, self.shown(3000)
            return None
        process.send_signal(signal.SIGKILL)
        process.wait()
        half = any(self.checkpoints.glob("*.partial"))
        bars = BAR.findall(self.shown(10**6))
        return Kill(aim, " ".join(bars[-1]) if bars else "before the first batch", half)

    def result(self) -> dict[str, Any]:
        """The state that it ended with, the numbers that it logged (later pieces win), and its last channel scores."""
        last = torch.load(self.checkpoints / "last.ckpt", weights_only=True)
        return {
            "batches": last["global_step"],
            **{name: last.get(name) for name in COMPARED},
            "logged": logged(self.folder / "run"),
            "channel": json.loads((self.folder / "run" / "channel.json").read_text()),
        }


def configuration(speech: Path, folder: Path, *, batches: int, quantizer: str, accumulate: int) -> dict[str, Any]:
    """What is laid over quickstart.yaml."""
    source = {"class_path": "data.FolderSource", "init_args": {"root": str(speech)}}
    backbone = {"class_path": "codec.ConvNeXtBackbone", "init_args": {"dim": 48, "width": 64, "depth": 2}}
    flips = [{"class_path": "codec.BinarySymmetricChannel", "init_args": {"bit_error_rate": p}} for p in (0.0, 0.1)]
    return {
        "model": {"init_args": {
            "codec": {"init_args": {
                "encoder": {"class_path": "codec.SpectralEncoder",
                            "init_args": {"dim": 48, "hop_length": 320, "width": 64, "depth": 2}},
                "quantizer": QUANTIZERS[quantizer],
                "decoder": {"init_args": {"backbone": backbone}},
            }},
            "channel": {"class_path": "codec.MixedChannel", "init_args": {"channels": flips}},
            "adversary": {"start": 3},
            "optimization": {"accumulate": accumulate},
        }},
        "data": {"train": source, "val": source, "test": source, "num_workers": 1, "batch_size": 2,
                 "crop_seconds": 0.6, "val_clips": 3, "augmentation": {"gain_db": [-6.0, 3.0], "noise": source}},
        "channels": {"bit_error_rates": [0.0, 0.1], "fit_clips": 3, "num_workers": 1, "bootstrap": 100,
                     "metrics": [{"class_path": "callbacks.STOI"}, {"class_path": "callbacks.SISDR"}]},
        "trainer": {
            "max_steps": batches, "val_check_interval": 10, "log_every_n_steps": 1,
            "enable_model_summary": False,
            "logger": {"init_args": {"save_dir": str(folder), "name": "run"}},
        },
        "checkpoint": {"every_n_batches": 4, "monitor": "channel/stoi/ber_0", "best": 1},
        "ema": {"decay": 0.9},
        "usage": {"every_n_batches": 7},
    }  # fmt: skip


def make_speech(folder: Path) -> Path:
    """Six short recordings."""
    return write_speech(folder, [1.0 + 0.005 * number for number in range(6)])


def _worker_start(run: Run, process: subprocess.Popen, rng: random.Random) -> Callable[[], bool]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return lambda: process.poll() is None and bool(children.read_text().split())


def _checkpoint_write(run: Run, process: subprocess.Popen, rng: random.Random) -> Callable[[], bool]:
    wanted, seen = rng.randint(1, 3), []

    def reached() -> bool:
        found = [path.name for path in run.checkpoints.glob("batch=*.partial")]
        seen.extend(name for name in found if name not in seen)
        return len(seen) >= wanted and bool(found)

    return reached


def _validation(run: Run, process: subprocess.Popen, rng: random.Random) -> Callable[[], bool]:
    return _some_time_after(lambda text: "Validation" in text, run, rng.uniform(0, 0.7))


def _training_step(run: Run, process: subprocess.Popen, rng: random.Random) -> Callable[[], bool]:
    steps = rng.randint(2, 6)  # a resumed run may first validate
    counts = re.compile(r"Training[^|\n]*\|[^|\n]*\| *(\d+)/")
    return _some_time_after(lambda text: len(set(counts.findall(text))) > steps, run, rng.uniform(0, 0.3))


def _some_time_after(seen: Callable[[str], bool], run: Run, wait: float) -> Callable[[], bool]:
    since: list[float] = []

    def reached() -> bool:
        if not since:
            time.sleep(0.01)
            if seen(run.shown(10**6)):
                since.append(time.monotonic())
        return bool(since) and time.monotonic() - since[0] >= wait

    return reached


def _any_time(run: Run, process: subprocess.Popen, rng: random.Random) -> Callable[[], bool]:
    end = time.monotonic() + rng.uniform(0, 20)
    return lambda: time.monotonic() >= end


MOMENTS: dict[str, Callable[[Run, subprocess.Popen, random.Random], Callable[[], bool]]] = {
    "checkpoint write": _checkpoint_write,
    "validation": _validation,
    "training step": _training_step,
    "worker start": _worker_start,
    "any time": _any_time,
}


def logged(folder: Path) -> dict[tuple[str, int], bytes]:
    """Every number of the event files but timings, by name and batch, the later file's where there are several."""
    pieces = []
    for path in folder.glob("events.out.tfevents.*"):
        events = list(EventFileLoader(str(path)).Load())
        if events:
            pieces.append((events[0].wall_time, events))
    values = {}
    for _, events in sorted(pieces, key=lambda piece: piece[0]):
        for event in events:
            for value in event.summary.value:
                if value.metadata.plugin_data.plugin_name == "scalars" and not value.tag.startswith(TIMINGS):
                    values[value.tag, event.step] = bytes(value.tensor.tensor_content) or str(value.tensor).encode()
    return values


def differences(one: Any, other: Any, path: str = "") -> list[str]:
    """Where two results differ, to the bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape
        same = same and one.contiguous().numpy().tobytes() == other.contiguous().numpy().tobytes()
        return [] if same else [path]
    if isinstance(one, dict) and isinstance(other, dict):
        missing = [f"{path}/{key} in one only" for key in one.keys() ^ other.keys()]
        return missing + [
            d for key in one.keys() & other.keys() for d in differences(one[key], other[key], f"{path}/{key}")
        ]
    if isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        return [d for i, pair in enumerate(zip(one, other, strict=True)) for d in differences(*pair, f"{path}/{i}")]
    return [] if repr(one) == repr(other) else [path]


def compare(folder: Path, aims: list[str], *, batches: int, quantizer: str, accumulate: int, seed: int) -> list[str]:
    """Train once without a break and once with the kills aimed as told; print the kills, return the differences."""
    rng = random.Random(seed)
    settings = {"batches": batches, "quantizer": quantizer, "accumulate": accumulate}
    speech = make_speech(folder / "speech")
    whole, broken = (Run(folder / name, speech, **settings) for name in ("whole", "broken"))
    whole.finish()
    for number, aim in enumerate(aims, 1):
        kill = broken.kill_at(aim, rng)
        if kill is None:
            print(f"kill {number} ({aim}): the run had ended", flush=True)
            break
        print(
            f"kill {number}: {kill.aim}, half-written file left: {kill.half_written}, shown: {kill.shown}", flush=True
        )
    broken.finish()
    return differences(whole.result(), broken.result())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--batches", type=int, default=120)
    parser.add_argument("--quantizer", choices=sorted(QUANTIZERS), default="fsq")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    aims = [list(MOMENTS)[i % len(MOMENTS)] for i in range(options.kills)]
    found = compare(
        folder, aims, batches=options.batches, quantizer=options.quantizer, accumulate=options.accumulate,
        seed=options.seed,
    )  # fmt: skip
    print(f"{len(aims)} kills, {len(found)} differences", *found[:40], sep="\n  ")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
