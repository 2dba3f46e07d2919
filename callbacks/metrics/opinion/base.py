"""What predicted opinions share: a scale from 1 to 5, and no meaning where no speech is left."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from callbacks.metrics.base import Requirement, SpeechMetric
from callbacks.metrics.pesq import LEAST_STOI


class PredictedOpinion(SpeechMetric):
    """Mean opinion score, about 1 to 5, that listeners would give, predicted from the degraded signal alone.

    A silent signal has no score and counts 1. As with PESQ, the mean is not shown where the mean STOI of the same draws
    is below 0.4: nothing compares the signal with its reference, and what is no speech can score well.
    """

    unit = "MOS"
    worst = 1.0
    needs = Requirement(
        "stoi", LEAST_STOI, "a predicted opinion hears no reference, and can be high where no speech is left"
    )

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        return self.opinion(degraded, sample_rate)

    @abstractmethod
    def opinion(self, signal: np.ndarray, sample_rate: int) -> float:
        """The score of a finite, audible float64 signal [T]; may raise `Unscorable`."""
