"""The designer's question: for a total rate, a limit of the delay and a channel, which codec and protection is best."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import SAME_RATE
from callbacks.scoring.scores import ChannelRow, ClipScores, paired_gaps


class OperatingPoint(NamedTuple):
    """One system behind one channel.

    `bit_rate` counts all bits a second on the channel, parity included; `delay_ms` is the delay of error correction,
    interleaving and concealment, without the codec's own. `within_delay` says whether it keeps the limit; `efficient`
    whether, of those that do, none has a better mean at no higher rate, or the same at a lower one (Pareto).
    """

    channel: str
    system: str
    metric: str
    bit_rate: float
    delay_ms: float
    mean: float
    low: float
    high: float
    within_delay: bool
    efficient: bool


class Choice(NamedTuple):
    """The best system behind one channel, at most at `rate_limit` bits a second and within the delay.

    `best` has the best mean. `as_good` are the systems whose paired difference from it has an interval with 0 inside,
    so that these clips do not tell them apart, and `saving` is that one of all of them that has the lowest rate, and of
    these the least delay. `difference` with its interval is `best` minus `second`, the next in the order of means;
    empty and NaN where there is no other.
    """

    channel: str
    rate_limit: float
    delay_limit_ms: float
    metric: str
    best: str
    mean: float
    low: float
    high: float
    bit_rate: float
    delay_ms: float
    second: str
    difference: float
    difference_low: float
    difference_high: float
    as_good: str
    saving: str


def operating_points(
    rows: Sequence[ChannelRow], metric: SpeechMetric, *, delay_limit_ms: float
) -> list[OperatingPoint]:
    """Every system behind every channel, channel by channel in the order of rates."""
    points = []
    for channel in dict.fromkeys(row.channel for row in rows):
        found = [row for row in rows if row.channel == channel and row.metric == metric.name]
        within = [row for row in found if row.delay_ms <= delay_limit_ms and not np.isnan(row.mean)]
        for row in sorted(found, key=lambda row: (row.bit_rate, row.codec)):
            points.append(
                OperatingPoint(
                    channel=channel,
                    system=row.codec,
                    metric=metric.name,
                    bit_rate=row.bit_rate,
                    delay_ms=row.delay_ms,
                    mean=row.mean,
                    low=row.low,
                    high=row.high,
                    within_delay=row.delay_ms <= delay_limit_ms,
                    efficient=row in within and not any(_dominates(other, row, metric) for other in within),
                )
            )
    return points


def choices(
    points: Sequence[OperatingPoint],
    clips: Mapping[str, Sequence[ClipScores]],
    channels: Sequence[str],
    metric: SpeechMetric,
    *,
    rate_limits: Sequence[float],
    delay_limit_ms: float,
    bootstrap: Bootstrap,
) -> list[Choice]:
    """The best system behind each channel for each limit of the rate; limits that no system keeps are left out.

    Args:
        points: of all systems and channels, by `operating_points`.
        clips: of every system, in the same order.
        channels: names in the order of the clips' scores.
        metric: by which they are ranked.
        rate_limits: in bits a second; a rate up to 2 % above a limit keeps it, as a code's tail weighs more in short
            clips.
        delay_limit_ms: that of `points`, as stated.
        bootstrap: of the intervals.
    """
    found = []
    for c, channel in enumerate(channels):
        for limit in rate_limits:
            kept = [
                point
                for point in points
                if point.channel == channel and point.within_delay and point.bit_rate <= limit * SAME_RATE
            ]
            ranked = sorted(
                (p for p in kept if not np.isnan(p.mean)), key=lambda p: _better(p.mean, metric), reverse=True
            )
            if ranked:
                found.append(
                    _choice(ranked, clips, c, metric, limit, delay_limit_ms=delay_limit_ms, bootstrap=bootstrap)
                )
    return found


def _choice(
    ranked: Sequence[OperatingPoint],
    clips: Mapping[str, Sequence[ClipScores]],
    c: int,
    metric: SpeechMetric,
    limit: float,
    *,
    delay_limit_ms: float,
    bootstrap: Bootstrap,
) -> Choice:
    best, others = ranked[0], ranked[1:]
    means = lows = highs = np.full(1, np.nan)
    if others:
        gaps = np.stack([paired_gaps(clips[best.system], clips[other.system], c, metric)[0] for other in others])
        means, lows, highs = bootstrap.means(gaps, [clip.speaker for clip in clips[best.system]])
    # An interval that could not be computed, as of a single clip, tells nothing apart.
    alike = [other for other, low, high in zip(others, lows, highs, strict=False) if not (low > 0 or high < 0)]
    saving = min([best, *alike], key=lambda point: (point.bit_rate, point.delay_ms))
    return Choice(
        channel=best.channel,
        rate_limit=float(limit),
        delay_limit_ms=delay_limit_ms,
        metric=metric.name,
        best=best.system,
        mean=best.mean,
        low=best.low,
        high=best.high,
        bit_rate=best.bit_rate,
        delay_ms=best.delay_ms,
        second=others[0].system if others else "",
        difference=float(means[0]),
        difference_low=float(lows[0]),
        difference_high=float(highs[0]),
        as_good="; ".join(point.system for point in alike),
        saving=saving.system,
    )


def _better(value: float, metric: SpeechMetric) -> float:
    """A value that is higher where the metric is better."""
    return value if metric.higher_is_better else -value


def _dominates(other: ChannelRow, row: ChannelRow, metric: SpeechMetric) -> bool:
    """Whether another system is better at no higher rate, or as good at a lower one."""
    gain = _better(other.mean, metric) - _better(row.mean, metric)
    return (gain > 0 and other.bit_rate <= row.bit_rate) or (gain == 0 and other.bit_rate < row.bit_rate)
