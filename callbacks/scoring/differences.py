"""Codecs against each other on the same clips and draws: paired differences with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.scores import ChannelLabel, ChannelRow, ClipScores, paired_gaps

SAME_RATE = 1.02  # bit rates within this factor count as equal: a code's termination differs by clip
FEWEST_PAIRS = 6  # below, a percentile interval is little more than the range of the values: no star


class Difference(NamedTuple):
    """A codec's score minus its baseline's, behind one channel, by one metric.

    `difference` is the mean over the `pairs` clips of each clip's mean over the draws that both codecs have a score of,
    `draws` in all; `unpaired` draws lack one score or both. `low` and `high` bound the difference. The baseline is the
    first codec of the same bit rate; where there is none, the first codec, and `equal_rate` is False.
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


def differences(
    clips: Mapping[str, Sequence[ClipScores]],
    rows: Sequence[ChannelRow],
    channels: Sequence[ChannelLabel],
    metrics: Sequence[SpeechMetric],
    *,
    bootstrap: Bootstrap,
) -> list[Difference]:
    """Every codec but the baselines, against its baseline; `clips` holds each codec's, in the same order."""
    names = list(clips)
    if len(names) < 2 or not clips[names[0]]:
        return []
    found = []
    for c, channel in enumerate(channels):
        rates = {row.codec: row.bit_rate for row in rows if row.channel == channel.name}
        pairs = [(name, baseline) for name in names if (baseline := baseline_of(name, rates)) != name]
        for name, baseline in pairs:
            found_gaps = [paired_gaps(clips[name], clips[baseline], c, metric.name) for metric in metrics]
            gaps = np.stack([gap for gap, _ in found_gaps])  # [metrics, clips]
            total = sum(len(clip.signals[c]) for clip in clips[name])
            interval = bootstrap.means(gaps)
            equal = same_rate(rates[name], rates[baseline])
            for m, metric in enumerate(metrics):
                found.append(
                    Difference(
                        channel=channel.name,
                        metric=metric.name,
                        codec=name,
                        baseline=baseline,
                        difference=float(interval.mean[m]),
                        low=float(interval.low[m]),
                        high=float(interval.high[m]),
                        pairs=int(np.isfinite(gaps[m]).sum()),
                        draws=found_gaps[m][1],
                        unpaired=total - found_gaps[m][1],
                        bit_rate=rates[name],
                        baseline_bit_rate=rates[baseline],
                        equal_rate=equal,
                    )
                )
    return found


def baseline_of(name: str, rates: Mapping[str, float]) -> str:
    """The first codec of the same bit rate, or the first of all where `name` itself is that."""
    peers = [other for other, rate in rates.items() if same_rate(rate, rates[name])]
    return peers[0] if peers[0] != name else next(iter(rates)) if len(peers) == 1 else name


def same_rate(a: float, b: float) -> bool:
    """Whether two bit rates are equal but for the termination of codes."""
    return max(a, b) < SAME_RATE * min(a, b)
