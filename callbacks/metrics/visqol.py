"""ViSQOL (Chinen et al. 2020) in its mode for speech, through the `visqol-python` package."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from callbacks.metrics.base import Requirement, SpeechMetric, Unscorable
from callbacks.metrics.packages import imported
from callbacks.metrics.pesq import LEAST_STOI
from callbacks.metrics.resampling import resample


class ViSQOL(SpeechMetric):
    """Similarity of spectrograms as MOS-LQO, 1 to 5 (Hines et al. 2015; ViSQOL v3, arXiv 2004.09584).

    The mode for speech, at 16 kHz, with the exponential map from similarity to opinion (its option names it
    polynomial), not the lattice of later versions, which needs a further runtime: figures compare under one map alone.
    Apache-2.0.

    As with PESQ, the mean is not shown where the mean STOI of the same draws is below 0.4.

    Raises:
        MissingDependency: visqol-python is not installed.
    """

    name, label, unit, worst = "visqol", "ViSQOL", "MOS-LQO", 1.0
    needs = Requirement("stoi", LEAST_STOI, "ViSQOL says nothing where no speech is left")

    def __init__(self) -> None:
        _package()

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        signals = [resample(signal, sample_rate, 16_000) for signal in (reference, degraded)]
        try:
            return float(_measure().measure_from_arrays(*signals, 16_000).moslqo)
        except (ValueError, RuntimeError, IndexError) as error:  # signals shorter than its patches of 0.4 s
            raise Unscorable(f"{self.label}: too short, or no active speech ({type(error).__name__})") from error


@lru_cache(maxsize=1)
def _measure() -> Any:
    measure = _package().VisqolApi()
    measure.create(mode="speech", use_lattice_model=False)
    return measure


def _package() -> Any:
    (package,) = imported("ViSQOL", "visqol", "visqol")
    return package
