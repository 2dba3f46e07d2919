"""Metrics that fail in the ways that a scoring pool must survive."""

from __future__ import annotations

import os
import time

import numpy as np

from callbacks.metrics import SpeechMetric


class Level(SpeechMetric):
    """Mean of the degraded signal; a first sample of 13 kills the process, 14 hangs, 15 raises."""

    name = "level"
    label = "level"

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        if degraded[0] == 13:
            os._exit(3)
        if degraded[0] == 14:
            time.sleep(60)
        if degraded[0] == 15:
            raise ZeroDivisionError("a bug")
        return float(degraded.mean())


class Fragile(SpeechMetric):
    """Mean of the degraded signal; a reference of one second kills the process."""

    name = "fragile"
    label = "fragile"

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        if len(reference) == sample_rate:
            os._exit(3)
        return float(degraded.mean())


class Environment(SpeechMetric):
    """Number of threads that the process is told to use, plus a tenth if PyTorch is loaded."""

    name = "threads"
    label = "threads"

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        import sys

        return float(os.environ["OMP_NUM_THREADS"]) + 0.1 * ("torch" in sys.modules)
