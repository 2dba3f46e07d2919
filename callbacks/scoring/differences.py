"""Paired differences between codecs on the same clips and channel draws, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.pooling import bounded_means
from callbacks.scoring.scores import ChannelLabel, ChannelRow, ClipScores, clip_weights, paired_gaps, summarise

SAME_RATE = 1.02  # bit rates within this factor count as equal: a convolutional code's tail weighs more in a short clip
FEWEST_PAIRS = 6  # with fewer, the interval rests on the values being normal: no star


class Difference(NamedTuple):
    """A codec's score minus its baseline's, behind one channel, by one metric.

    `difference` is the mean over the `pairs` clips of each clip's mean over its draws. `draws` of these have both
    scores; `unpaired` lack one or both, and count with the metric's worst value (but for clips of no weight in a pooled
    metric, which are no pairs). Without a worst value there is no
    difference (NaN), nor where one of the means is `withheld` (why, else empty); `pairs` is then 0. `low` and `high`
    bound the difference, by resampling speakers. The baseline is the first codec of the same bit rate; where there is
    none, the first codec, and `equal_rate` is False.
    """

    channel: str
    metric: str
    codec: str
    baseline: str
    difference: float
    low: float
    high: float
    pairs: int
    draws: int
    unpaired: int
    bit_rate: float
    baseline_bit_rate: float
    equal_rate: bool
    withheld: str


def compare(
    clips: Mapping[str, Sequence[ClipScores]],
    channels: Sequence[ChannelLabel],
    metrics: Sequence[SpeechMetric],
    *,
    repeats: int,
    bootstrap: Bootstrap,
) -> tuple[list[ChannelRow], list[Difference]]:
    """Every codec's rows, and its differences from its baseline; all codecs' `clips` are in the same order."""
    rows = [
        row
        for found in clips.values()
        for row in summarise(found, channels, metrics, repeats=repeats, bootstrap=bootstrap)
    ]
    return rows, differences(clips, rows, channels, metrics, bootstrap=bootstrap)


def differences(
    clips: Mapping[str, Sequence[ClipScores]],
    rows: Sequence[ChannelRow],
    channels: Sequence[ChannelLabel],
    metrics: Sequence[SpeechMetric],
    *,
    bootstrap: Bootstrap,
) -> list[Difference]:
    """Differences of every codec but the baselines from its baseline; all codecs' `clips` are in the same order."""
    names = list(clips)
    if len(names) < 2 or not clips[names[0]]:
        return []
    found = []
    for c, channel in enumerate(channels):
        behind = [row for row in rows if row.channel == channel.name]
        rates = {row.codec: row.bit_rate for row in behind}
        reasons = {(row.codec, row.metric): row.withheld for row in behind}
        for name in names:
            baseline = baseline_of(name, rates)
            if baseline != name:
                found += _paired(
                    clips, (name, baseline), c, channel, metrics, rates=rates, reasons=reasons, bootstrap=bootstrap
                )
    return found


def _paired(
    clips: Mapping[str, Sequence[ClipScores]],
    pair: tuple[str, str],
    c: int,
    channel: ChannelLabel,
    metrics: Sequence[SpeechMetric],
    *,
    rates: Mapping[str, float],
    reasons: Mapping[tuple[str, str], str],
    bootstrap: Bootstrap,
) -> list[Difference]:
    """A codec against its baseline behind channel number `c`, by every metric; `reasons` are those of `withheld`."""
    name, baseline = pair
    paired = [paired_gaps(clips[name], clips[baseline], c, metric) for metric in metrics]
    why = [reasons[name, metric.name] or reasons[baseline, metric.name] for metric in metrics]
    gaps = np.stack([gap for gap, _ in paired])  # [metrics, clips]
    gaps[[bool(reason) for reason in why]] = np.nan
    total = sum(len(clip.signals[c]) for clip in clips[name])
    weights = np.stack([clip_weights(clips[name], metric) for metric in metrics])
    interval = bounded_means(bootstrap, gaps, weights, [clip.speaker for clip in clips[name]])
    return [
        Difference(
            channel=channel.name,
            metric=metric.name,
            codec=name,
            baseline=baseline,
            difference=float(interval.mean[m]),
            low=float(interval.low[m]),
            high=float(interval.high[m]),
            pairs=int((weights[m] > 0).sum()) if np.isfinite(gaps[m]).all() else 0,
            draws=paired[m][1],
            unpaired=total - paired[m][1],
            bit_rate=rates[name],
            baseline_bit_rate=rates[baseline],
            equal_rate=same_rate(rates[name], rates[baseline]),
            withheld=why[m],
        )
        for m, metric in enumerate(metrics)
    ]


def baseline_of(name: str, rates: Mapping[str, float]) -> str:
    """The first codec of the same bit rate; the first of all, where no other codec has that rate."""
    peers = [other for other, rate in rates.items() if same_rate(rate, rates[name])]
    return peers[0] if peers[0] != name else next(iter(rates)) if len(peers) == 1 else name


def same_rate(a: float, b: float) -> bool:
    """Whether two bit rates are equal, apart from the tail bits of convolutional codes."""
    return max(a, b) < SAME_RATE * min(a, b)
