"""Processor time of each metric for a second of audio, on one core.

    python -m tests.benchmarks.metric_costs [--clips 4] [--seconds 7] [--folder DIR]

Each metric scores each clip with noise at four levels, after one call that loads its package and its model; prints the
median and the range over clips and levels, and the ratio to PESQ-WB's.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=7.0)
    parser.add_argument("--folder", type=Path, default=None, help="FLAC files instead of synthetic clips")
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"))
    from tests.benchmarks.channel_evaluation import RATE, every_metric, read_clips

    clips = read_clips(arguments.folder, arguments.clips, arguments.seconds)
    generator = np.random.default_rng(0)
    pairs = [
        (clip, clip + np.float32(level) * generator.standard_normal(len(clip)).astype(np.float32))
        for clip in clips
        for level in (0.003, 0.01, 0.03, 0.1)
    ]
    found = {}
    for metric in every_metric():
        metric(pairs[0][0], pairs[0][0] * np.float32(0.9), RATE)
        costs = []
        for reference, degraded in pairs:
            start = time.process_time()
            metric(reference, degraded, RATE)
            costs.append((time.process_time() - start) / (len(reference) / RATE))
        found[metric.label] = np.array(costs)
    first = np.median(next(iter(found.values())))
    for label, values in found.items():
        spread = f"{values.min():.4f} to {values.max():.4f}"
        print(
            f"{label:<45} {np.median(values):.4f} s a second ({spread}), {np.median(values) / first:.1f} times PESQ-WB"
        )
    print("Metrics that share an analysis (ESTOI, CER, a second scale of DNSMOS) cost what it leaves them.")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    main()
