"""The base of speech metrics: one number for a degraded signal and its reference, or a reason why not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isfinite
from typing import NamedTuple

import numpy as np

from callbacks.metrics.checks import require

SILENCE = 1e-6  # peak-to-peak, full scale 1: far below one step of 16-bit PCM (3e-5)


class Unscorable(Exception):
    """A metric has no value for this pair of signals; the message is the reason, short and free of numbers."""

    @property
    def reason(self) -> str:
        """The reason, the same text for every pair that fails in the same way, so that reasons can be counted."""
        return str(self.args[0])


def is_silent(signal: np.ndarray) -> bool:
    """Whether a signal [T] is constant, but for less than the steps of 16-bit PCM."""
    return bool(np.ptp(signal) < SILENCE)


def decimals(unit: str) -> int:
    """Decimals with which a value in this unit is shown: one for dB, two for other units, three for an index."""
    return 1 if unit == "dB" else 2 if unit else 3


class Requirement(NamedTuple):
    """Another metric on which the meaning of a metric's mean depends.

    Attributes:
        metric: Name of the other metric.
        least: Its least mean, over the same draws, at which the mean of the first says something.
        why: What is wrong below it, as a sentence without a full stop.
    """

    metric: str
    least: float
    why: str


class SpeechMetric(ABC):
    """One number for a degraded signal, given its reference; subclasses implement `score`.

    Attributes:
        name: Identifier for files and loggers, unique among the metrics of one evaluation.
        label: The metric's name as printed in tables and on axes.
        unit: Unit of the value; empty for a dimensionless index.
        higher_is_better: Whether a larger value means better speech; None where neither does, and 0 is best.
        worst: The worst value of the range; of an error rate, that of silence, as insertions have no end. A draw
            without a score counts with it in every mean; None where there is none, and a mean with such a draw is none.
        scores_silence: Whether a silent degraded signal has a value.
        needs: What a mean of this metric depends on; None where it always says something.
        pooled: Whether a clip counts with its `weight`, as in an error rate over all words of a corpus.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool | None = True
    worst: float | None = None
    scores_silence: bool = False
    needs: Requirement | None = None
    pooled: bool = False

    @property
    def label_with_unit(self) -> str:
        """The label, with the unit in brackets where there is one: "SI-SDR (dB)"."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def direction(self) -> str:
        """Which values are good, for a caption: "higher is better"."""
        return {True: "higher is better", False: "lower is better", None: "0 is best"}[self.higher_is_better]

    def counted(self, values: np.ndarray) -> np.ndarray:
        """Values as they count in a mean: `worst` in place of NaN (no score) and of any value that is worse.

        The second keeps failure from ever raising a mean: STOI of noise is a little below 0, that of silence 0. Without
        a worst value, NaN stays NaN. A pooled metric keeps all its values, so that their mean is the rate over all.
        """
        if self.worst is None:
            return values
        found = np.where(np.isnan(values), self.worst, values)
        if self.pooled:
            return found
        return np.minimum(found, self.worst) if self.higher_is_better is False else np.maximum(found, self.worst)

    def is_worst(self, values: np.ndarray) -> int:
        """Number of values that are `worst` or beyond it; NaN is none of them."""
        if self.worst is None:
            return 0
        return int((values >= self.worst if self.higher_is_better is False else values <= self.worst).sum())

    def __call__(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int, *, transcript: str = "") -> float:
        """Score one pair.

        Args:
            reference: Clean signal [T], any float type, full scale 1.
            degraded: Signal to score [T], aligned with the reference.
            sample_rate: Rate of both signals in Hz.
            transcript: What is said in the reference; empty where not known.

        Returns:
            The finite value, in `unit`.

        Raises:
            InvalidValue: Either signal is not one-dimensional, or their lengths differ.
            Unscorable: A signal is empty or not finite, the reference is silent, or the metric has no value for it.
        """
        require(
            reference.ndim == 1 and reference.shape == degraded.shape,
            f"reference {reference.shape} and degraded signal {degraded.shape}",
            allowed="must both be [T] with the same T",
            remedy="trim the signal, or decode to the reference's length",
        )
        for role, signal in (("reference", reference), ("degraded signal", degraded)):
            if signal.size == 0:
                raise Unscorable(f"{role} is empty")
            if not np.isfinite(signal).all():
                raise Unscorable(f"{role} is not finite")
            if is_silent(signal) and not (self.scores_silence and role == "degraded signal"):
                raise Unscorable(f"{role} is silent")
        first, second = reference.astype(np.float64), degraded.astype(np.float64)
        value = float(self.score_said(first, second, sample_rate, transcript))
        if not isfinite(value):
            raise Unscorable(f"{self.label} is not finite")
        return value

    def weight(self, reference: np.ndarray, sample_rate: int, transcript: str) -> float:
        """How much a clip counts in the mean of a pooled metric: words of its reference, for example."""
        return 1.0

    def score_said(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int, transcript: str) -> float:
        """As `score`, of a metric that also looks at what is said."""
        return self.score(reference, degraded, sample_rate)

    @abstractmethod
    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        """Value for two finite float64 signals [T] of equal length; may raise `Unscorable`.

        Both are audible, but for a degraded signal where `scores_silence` is set.
        """
