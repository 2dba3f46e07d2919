"""The level of the degraded signal relative to its reference."""

from __future__ import annotations

import numpy as np

from callbacks.metrics.base import SpeechMetric


class LevelDifference(SpeechMetric):
    """Power of the degraded signal over that of its reference in dB, 10 log10(Σ y² / Σ x²); 0 is best.

    No measure of quality, but what the others leave out: PESQ, STOI and SI-SDR ignore a gain. Negative where the codec
    is quieter than its input.
    """

    name = "level"
    label = "level difference"
    unit = "dB"
    higher_is_better = None

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        return float(10 * np.log10(np.sum(np.square(degraded)) / np.sum(np.square(reference))))
