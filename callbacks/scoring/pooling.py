"""Rates over all words of a corpus: clips that count by their weight, and intervals over those that weigh something."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from callbacks.scoring.bootstrap import Bootstrap, Interval


def pooled_terms(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Terms [clips] whose mean is the pooled rate r = Σ w v / Σ w: r + w (v − r) / w̄, w̄ the mean of weights above 0.

    They are the linearised ratio (Cochran 1977, section 6.4): intervals of their mean, over the clips that weigh
    something, are those of the rate, to first order. A clip of weight 0 has the term r; where all weigh 0 there is no
    rate, and all terms are NaN, as with a weight that is NaN.
    """
    counted = weights != 0
    if not counted.any():
        return np.full(len(values), np.nan)
    mean = weights[counted].mean()
    known = np.where(counted, values, 0.0)
    rate = float((weights * known).sum() / weights.sum())
    return rate + weights * (known - rate) / mean


def bounded_means(bootstrap: Bootstrap, values: np.ndarray, weights: np.ndarray, clusters: Sequence[str]) -> Interval:
    """Means of rows [M, clips] with their bounds, each over the clips whose weight [M, clips] is not 0.

    Rows over the same clips share the resampled clusters.
    """
    counted = weights != 0
    found = Interval(*(np.full(len(values), np.nan) for _ in range(3)))
    for mask in np.unique(counted, axis=0):
        rows = (counted == mask).all(axis=1)
        if mask.any():
            names = [name for name, kept in zip(clusters, mask, strict=True) if kept]
            for whole, part in zip(found, bootstrap.means(values[rows][:, mask], names), strict=True):
                whole[rows] = part
    return found
