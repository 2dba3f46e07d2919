"""Measures training batches read from tar shards against loose files, with two data workers; all batches are compared.

Run as `python -m tests.benchmarks.shards`.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from data import AudioSource, FolderSource, ShardSource, SpeechDataModule
from data.prepare import pack
from tests.benchmarks.crop_reading import make_files

BATCH_SIZE = 16


def stream(source: AudioSource) -> Iterator[torch.Tensor]:
    """The endless training batches [B, 1, T] of `source`, from two workers."""
    module = SpeechDataModule(source, batch_size=BATCH_SIZE, crop_seconds=1.0, num_workers=2)
    module.setup("fit")
    return (batch["audio"] for batch in module.train_dataloader())


def take(batches: Iterator[torch.Tensor], count: int) -> tuple[float, torch.Tensor]:
    """(seconds, audio) of the next `count` batches."""
    started = time.perf_counter()
    taken = torch.cat(list(itertools.islice(batches, count)))
    return time.perf_counter() - started, taken


def measure(folder: Path, *, files: int, pairs: int, batches: int) -> tuple[list[float], float]:
    """(time of loose files over time of shards for each pair, crops per second from shards)."""
    (folder / "loose").mkdir()
    make_files(folder / "loose", files, 0.1)
    source = FolderSource(str(folder / "loose"))
    pack(source, folder / "packed", shard_bytes=4_000_000, workers=2)
    loose, shards = stream(source), stream(ShardSource(str(folder / "packed")))
    ratios, total = [], 0.0
    for number in range(-1, pairs):  # in turns: the other's workers soon have all that they may make in advance
        if number % 2:
            (old, expected), (new, audio) = take(loose, batches), take(shards, batches)
        else:
            (new, audio), (old, expected) = take(shards, batches), take(loose, batches)
        assert torch.equal(audio, expected), "shards and loose files gave different batches"
        if number >= 0:  # the first also starts the workers
            ratios.append(old / new)
            total += new
    return ratios, pairs * batches * BATCH_SIZE / total


def main() -> float:
    """Print the ratio and its spread; returns the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--batches", type=int, default=50)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        ratios, rate = measure(Path(folder), files=options.files, pairs=options.pairs, batches=options.batches)
    ratio = statistics.median(ratios)
    low, _, high = statistics.quantiles(ratios, n=4)
    print(f"2 workers, 1 s crops of {options.files} FLACs: {rate:.0f} crops/s from shards, {ratio:.2f} times ", end="")
    print(f"those of loose files (half of {options.pairs} pairs within {low:.2f} to {high:.2f}; at least 1.00 wanted)")
    return ratio


if __name__ == "__main__":
    sys.exit(0 if main() >= 1 else 1)
