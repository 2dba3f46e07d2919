"""From per-clip scores to one row per channel and metric: means over clips, intervals, and what could not be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring_worker import Scores
from callbacks.statistics import bootstrap_means


class ChannelLabel(Protocol):
    """What a channel says of itself (`codec.channels.Channel`)."""

    name: str
    family: str
    error_rate: float


@dataclass
class ClipScores:
    """All scores of one clip; C channels, R repeats.

    Attributes:
        clip_id: Stable name of the clip.
        seconds: Duration of the reference.
        bits: Number of bits sent.
        words: Number of codes sent.
        signals: Index into `scores` for each draw [C, R].
        bit_errors: Share of bits that arrived wrong [C, R].
        erased_words: Words that named no code [C, R].
        scores: One entry per distinct signal.
    """

    clip_id: str
    seconds: float
    bits: int
    words: int
    signals: np.ndarray
    bit_errors: np.ndarray
    erased_words: np.ndarray
    scores: list[Scores] = field(default_factory=list)

    def values(self, channel: int, metric: str) -> np.ndarray:
        """One metric's value for each repeat [R] of a channel; NaN where unscorable."""
        found = [self.scores[signal].values[metric] for signal in self.signals[channel]]
        return np.array([np.nan if value is None else value for value in found])

    def reasons(self, channel: int, metric: str) -> list[str]:
        """The reasons of the repeats that a metric could not score."""
        found = (self.scores[signal].reasons.get(metric) for signal in self.signals[channel])
        return [reason for reason in found if reason is not None]


class ChannelRow(NamedTuple):
    """One metric behind one channel.

    `mean` is over clips, of each clip's mean over its scorable repeats; `low` and `high` bound it. NaN means that
    there is no value. `scored` and `unscorable` count draws and add up to `clips * repeats`.
    """

    channel: str
    family: str
    bit_error_rate: float
    metric: str
    unit: str
    mean: float
    low: float
    high: float
    clips: int
    scored: int
    unscorable: int
    repeats: int
    measured_bit_error_rate: float
    erased_words: float
    reasons: dict[str, int]

    @property
    def key(self) -> str:
        """Name for loggers, such as "channel/stoi/ber_0.01"."""
        binary_symmetric = self.family == "bsc"
        return f"channel/{self.metric}/{f'ber_{self.bit_error_rate:g}' if binary_symmetric else self.channel}"


def summarise(
    clips: Sequence[ClipScores],
    channels: Sequence[ChannelLabel],
    metrics: Sequence[SpeechMetric],
    *,
    repeats: int,
    resamples: int,
    confidence: float,
    seed: int,
) -> list[ChannelRow]:
    """Rows for every channel and metric, channels outermost, over clips in the order given (sorted: reproducible)."""
    pairs = [(c, metric) for c in range(len(channels)) for metric in metrics]
    counts = np.zeros(len(pairs), dtype=int)
    means = np.full((len(pairs), len(clips)), np.nan)
    for row, (c, metric) in enumerate(pairs):
        for column, clip in enumerate(clips):
            values = clip.values(c, metric.name)
            scored = np.isfinite(values)
            counts[row] += scored.sum()
            if scored.any():
                means[row, column] = values[scored].mean()
    interval = bootstrap_means(means, resamples=resamples, confidence=confidence, seed=seed)
    rows = []
    for row, (c, metric) in enumerate(pairs):
        channel = channels[c]
        bits = sum(clip.bits for clip in clips) * repeats
        words = sum(clip.words for clip in clips) * repeats
        wrong = sum(float(clip.bit_errors[c].sum()) * clip.bits for clip in clips)
        erased = sum(int(clip.erased_words[c].sum()) for clip in clips)
        rows.append(
            ChannelRow(
                channel=channel.name,
                family=channel.family,
                bit_error_rate=channel.error_rate,
                metric=metric.name,
                unit=metric.unit,
                mean=float(interval.mean[row]),
                low=float(interval.low[row]),
                high=float(interval.high[row]),
                clips=len(clips),
                scored=int(counts[row]),
                unscorable=len(clips) * repeats - int(counts[row]),
                repeats=repeats,
                measured_bit_error_rate=wrong / bits if bits else 0.0,
                erased_words=erased / words if words else 0.0,
                reasons=dict(Counter(reason for clip in clips for reason in clip.reasons(c, metric.name))),
            )
        )
    return rows
