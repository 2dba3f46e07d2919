"""Measures training crops cut from memory against crops read by seeking, by one data worker; all batches are compared.

Run as `python -m tests.benchmarks.decoded`.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from data import FolderSource, SpeechDataModule
from tests.benchmarks.crop_reading import make_files
from tests.benchmarks.shards import BATCH_SIZE, take


def stream(folder: Path, *, in_memory: bool) -> Iterator[torch.Tensor]:
    """The endless training batches [B, 1, T] of the files in `folder`, from one worker."""
    source = FolderSource(str(folder))
    module = SpeechDataModule(source, batch_size=BATCH_SIZE, crop_seconds=1.0, num_workers=1, in_memory=in_memory)
    module.setup("fit")
    return (batch["audio"] for batch in module.train_dataloader())


def measure(folder: Path, *, files: int, pairs: int, batches: int) -> tuple[list[float], float]:
    """(time by seeking over time from memory for each pair, crops per second from memory)."""
    make_files(folder, files, 0.25)
    seeking, memory = stream(folder, in_memory=False), stream(folder, in_memory=True)
    ratios, total = [], 0.0
    for number in range(-1, pairs):
        old, expected = take(seeking, batches)
        new, audio = take(memory, batches)
        assert torch.equal(audio, expected), "memory and files gave different batches"
        if number >= 0:  # the first also starts the workers
            ratios.append(old / new)
            total += new
    return ratios, pairs * batches * BATCH_SIZE / total


def main() -> float:
    """Print the ratio and its spread; returns the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--batches", type=int, default=100)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratios, rate = measure(Path(folder), files=options.files, pairs=options.pairs, batches=options.batches)
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"1 worker, 1 s crops of {options.files} FLACs: {rate:.0f} crops/s from memory, {ratio:.1f} times ", end="")
    print(f"those by seeking (half of {options.pairs} pairs within {low:.1f} to {high:.1f}; at least 2.0 wanted)")
    return ratio


if __name__ == "__main__":
    sys.exit(0 if main() >= 2 else 1)
