"""Means over clips with percentile-bootstrap intervals (Efron 1979), in seeded NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from callbacks.metrics.checks import require, require_at_least


class Interval(NamedTuple):
    """Mean and confidence bounds of each row [M]; NaN where there are too few values."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Bootstrap(NamedTuple):
    """Settings of the intervals.

    Attributes:
        resamples: Number of bootstrap resamples; 0 gives no interval.
        confidence: Probability mass between the bounds, in (0, 1).
        seed: Seed of the resampling.
    """

    resamples: int = 1000
    confidence: float = 0.95
    seed: int = 0

    def means(self, values: np.ndarray) -> Interval:
        """`bootstrap_means` with these settings."""
        return bootstrap_means(values, resamples=self.resamples, confidence=self.confidence, seed=self.seed)


def bootstrap_means(values: np.ndarray, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Interval:
    """Mean over clips of each row, with a percentile-bootstrap interval over clips.

    All rows share the resampled clips, so rows that hold the same clips are compared as pairs.

    Args:
        values: [M, clips]; NaN marks a clip without a value, which that row's mean leaves out.
        resamples: Number of bootstrap resamples; 0 gives no interval.
        confidence: Probability mass between the bounds, in (0, 1).
        seed: Seed of the resampling.

    Returns:
        Means [M], NaN for rows without a value; bounds [M], NaN for rows with fewer than two values.

    Raises:
        InvalidValue: A number is out of range.
    """
    require(0 < confidence < 1, "confidence", confidence, "must lie between 0 and 1")
    require_at_least(0, resamples=resamples)
    rows, clips = values.shape
    present = np.isfinite(values)
    filled = np.where(present, values, 0.0)
    missing = np.full(rows, np.nan)
    counts = present.sum(axis=1)
    means = np.divide(filled.sum(axis=1), counts, out=missing.copy(), where=counts > 0)
    enough = counts >= 2
    if resamples == 0 or not enough.any():
        return Interval(means, missing.copy(), missing.copy())
    generator = np.random.default_rng(seed)
    drawn = generator.multinomial(clips, np.full(clips, 1 / clips), size=resamples)  # [resamples, clips]
    weights = drawn @ present.T  # [resamples, M]: clips drawn that have a value
    resampled = np.divide(drawn @ filled.T, weights, out=np.full(weights.shape, np.nan), where=weights > 0)
    tail = (1 - confidence) / 2
    low, high = missing.copy(), missing.copy()
    low[enough], high[enough] = np.nanquantile(resampled[:, enough], [tail, 1 - tail], axis=0)
    return Interval(means, low, high)
