"""From per-clip scores to one row per channel and metric: means over clips, intervals, and what could not be scored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.signals import Scores


class ChannelLabel(Protocol):
    """The names and the rate of a channel, as `codec.channels.Channel` has them."""

    name: str
    family: str
    error_rate: float

    @property
    def curve(self) -> str:
        """Name of the curve in a figure to which this channel is a point."""


@dataclass
class ClipScores:
    """All scores of one clip and one codec; C channels, R repeats.

    Attributes:
        clip_id: Stable name of the clip.
        codec: Name of the evaluated system in a comparison; empty where the module has one codec.
        seconds: Duration of the reference.
        bits: Number of payload bits, those of the codewords of all codes.
        codewords: Number of codes sent.
        bit_rates: Bits per second that cross each channel [C], parity included, over whole frames.
        signals: Index into `scores` for each draw [C, R].
        bit_errors: Share of bits that arrived wrong or not at all [C, R].
        erased_codewords: Number of codewords received that stand for no code or lost a bit [C, R].
        scores: One entry per distinct signal.
    """

    clip_id: str
    codec: str
    seconds: float
    bits: int
    codewords: int
    bit_rates: np.ndarray
    signals: np.ndarray
    bit_errors: np.ndarray
    erased_codewords: np.ndarray
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
    there is no value. `scored` and `unscorable` count draws and add up to `clips * repeats`. `erased_codewords` is the
    share of codewords received that stand for no code or lost a bit. `bit_rate` counts the bits a
    second on the channel, parity included.
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
    erased_codewords: float
    reasons: dict[str, int]
    codec: str
    bit_rate: float
    curve: str

    @property
    def key(self) -> str:
        """Name for loggers, such as "channel/stoi/ber_0.01", followed by the codec's name in a comparison."""
        setting = f"ber_{self.bit_error_rate:g}" if self.channel == f"bsc-{self.bit_error_rate:g}" else self.channel
        return f"channel/{self.metric}/{setting}" + (f"/{self.codec}" if self.codec else "")


def summarise(
    clips: Sequence[ClipScores],
    channels: Sequence[ChannelLabel],
    metrics: Sequence[SpeechMetric],
    *,
    repeats: int,
    bootstrap: Bootstrap,
) -> list[ChannelRow]:
    """One codec's rows, channel by channel, over its clips.

    The order of the clips decides the bootstrap's draws: sort them for the same intervals on any number of ranks.
    """
    pairs = [(c, metric) for c in range(len(channels)) for metric in metrics]
    means = np.stack([clip_means(clips, c, metric.name) for c, metric in pairs])
    interval = bootstrap.means(means)
    return [
        _row(clips, c, channels[c], metric, repeats=repeats, bounds=[float(bound[row]) for bound in interval])
        for row, (c, metric) in enumerate(pairs)
    ]


def _row(
    clips: Sequence[ClipScores],
    c: int,
    channel: ChannelLabel,
    metric: SpeechMetric,
    *,
    repeats: int,
    bounds: Sequence[float],
) -> ChannelRow:
    """The row of one metric behind channel number `c`; `bounds` are its mean, low and high."""
    mean, low, high = bounds
    scored = int(sum(np.isfinite(clip.values(c, metric.name)).sum() for clip in clips))
    bits = sum(clip.bits for clip in clips) * repeats
    codewords = sum(clip.codewords for clip in clips) * repeats
    seconds = sum(clip.seconds for clip in clips)
    wrong = sum(float(clip.bit_errors[c].sum()) * clip.bits for clip in clips)
    erased = sum(int(clip.erased_codewords[c].sum()) for clip in clips)
    crossing = float(sum(clip.bit_rates[c] * clip.seconds for clip in clips))
    return ChannelRow(
        channel=channel.name,
        family=channel.family,
        bit_error_rate=channel.error_rate,
        metric=metric.name,
        unit=metric.unit,
        mean=mean,
        low=low,
        high=high,
        clips=len(clips),
        scored=scored,
        unscorable=len(clips) * repeats - scored,
        repeats=repeats,
        measured_bit_error_rate=wrong / bits if bits else 0.0,
        erased_codewords=erased / codewords if codewords else 0.0,
        reasons=dict(Counter(reason for clip in clips for reason in clip.reasons(c, metric.name))),
        codec=clips[0].codec if clips else "",
        bit_rate=round(crossing / seconds, 3) if seconds else 0.0,
        curve=channel.curve,
    )


def paired_gaps(
    clips: Sequence[ClipScores], others: Sequence[ClipScores], channel: int, metric: str
) -> tuple[np.ndarray, int]:
    """Each clip's mean difference over the draws that both codecs have a score of [clips], NaN where there is none.

    Also the number of those draws. `clips` and `others` hold the same clips in the same order.
    """
    gaps, draws = np.full(len(clips), np.nan), 0
    for place, (clip, other) in enumerate(zip(clips, others, strict=True)):
        differences = clip.values(channel, metric) - other.values(channel, metric)
        paired = np.isfinite(differences)
        if paired.any():
            gaps[place] = differences[paired].mean()
            draws += int(paired.sum())
    return gaps, draws


def clip_means(clips: Sequence[ClipScores], channel: int, metric: str) -> np.ndarray:
    """Each clip's mean over its scorable repeats [clips]; NaN where there is none."""
    means = np.full(len(clips), np.nan)
    for place, clip in enumerate(clips):
        values = clip.values(channel, metric)
        scored = np.isfinite(values)
        if scored.any():
            means[place] = values[scored].mean()
    return means
