"""The scores of one degraded signal, or the reasons why a metric has none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from callbacks.metrics import SpeechMetric, Unscorable


class Scores(NamedTuple):
    """One degraded signal's values.

    Attributes:
        values: Metric name to value, None where unscorable.
        reasons: Metric name to reason, for the unscorable metrics only.
        weights: Metric name to the clip's weight, for the pooled metrics only.
    """

    values: dict[str, float | None]
    reasons: dict[str, str]
    weights: dict[str, float] = {}  # noqa: RUF012 - never changed, and pickled, which a read-only view is not


def score(
    metrics: Sequence[SpeechMetric],
    reference: np.ndarray,
    degraded: np.ndarray,
    *,
    sample_rate: int,
    transcript: str = "",
) -> Scores:
    """Score one degraded signal [T] against its reference [T] with every metric, in order."""
    values: dict[str, float | None] = {}
    reasons: dict[str, str] = {}
    for metric in metrics:
        try:
            values[metric.name] = metric(reference, degraded, sample_rate, transcript=transcript)
        except Unscorable as unscorable:
            values[metric.name] = None
            reasons[metric.name] = unscorable.reason
    weights = {m.name: m.weight(reference, sample_rate, transcript) for m in metrics if m.pooled}
    return Scores(values, reasons, weights)
