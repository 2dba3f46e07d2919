"""From per-clip scores to one row per channel and metric: means over clips, intervals, and what could not be scored.

A draw without a score never leaves a mean: it counts with the metric's worst value, or the mean is none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.pooling import bounded_means, pooled_terms
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
        speaker: Who speaks; empty where not known.
        seconds: Duration of the reference.
        bits: Number of payload bits, those of the codewords of all codes.
        codewords: Number of codes sent.
        bit_rates: Bits per second that cross each channel [C], parity included, over whole frames.
        delays_ms: Delay of error correction, interleaving and concealment behind each channel [C], in milliseconds.
        signals: Index into `scores` for each draw [C, R].
        bit_errors: Share of bits that arrived wrong or not at all [C, R].
        erased_codewords: Number of codewords received that stand for no code or lost a bit [C, R].
        scores: One entry per distinct signal.
        coded_bit_rate: Bits per second of the codes behind an adaptive arithmetic coder, this clip by itself and before
            error correction; NaN where not known.
        codes: The codes [K, F]; None where the scores come from a file.
        transcript: What is said; empty where not known.
    """

    clip_id: str
    codec: str
    speaker: str
    seconds: float
    bits: int
    codewords: int
    bit_rates: np.ndarray
    delays_ms: np.ndarray
    signals: np.ndarray
    bit_errors: np.ndarray
    erased_codewords: np.ndarray
    scores: list[Scores] = field(default_factory=list)
    coded_bit_rate: float = float("nan")
    codes: np.ndarray | None = None
    transcript: str = ""

    def values(self, channel: int, metric: str) -> np.ndarray:
        """One metric's value for each repeat [R] of a channel; NaN where unscorable."""
        found = [self.scores[signal].values[metric] for signal in self.signals[channel]]
        return np.array([np.nan if value is None else value for value in found])

    def weight(self, metric: str) -> float:
        """How much the clip counts in the mean of a pooled metric; NaN where no process has lived to tell."""
        return next((found.weights[metric] for found in self.scores if metric in found.weights), np.nan)

    def reasons(self, channel: int, metric: str) -> list[str]:
        """The reasons of the repeats that a metric could not score."""
        found = (self.scores[signal].reasons.get(metric) for signal in self.signals[channel])
        return [reason for reason in found if reason is not None]


class ChannelRow(NamedTuple):
    """One metric behind one channel.

    `mean` is over clips, of each clip's mean over its repeats; `low` and `high` bound it. NaN means that there is no
    value. `scored` and `unscorable` count draws and add up to `clips * repeats`. `imputed` of the unscorable draws
    count in the mean with the metric's worst value: all of them (but for clips of no weight in a pooled metric), or
    none where it has no worst value and the mean is NaN. `withheld` is why the mean says nothing and is NaN, empty if
    it does (`SpeechMetric.needs`). `erased_codewords` is the share of codewords received that stand for no code or lost
    a bit. `bit_rate` counts the bits a second on the channel, parity included; `delay_ms` is the delay of error
    correction, interleaving and concealment. `speakers` is the number of speakers, 0 where one of a clip is not known.
    `silent` counts the draws whose score is the metric's worst value or worse, as that of silence is in STOI.
    `coded_bit_rate` is that of the codes alone behind an adaptive arithmetic coder
    (`codec.channels.entropy_coding.adaptive_bits`), each clip by itself; NaN in older files.
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
    imputed: int
    withheld: str
    delay_ms: float
    speakers: int
    silent: int
    coded_bit_rate: float = float("nan")

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
    """One codec's rows, channel by channel, over its clips; intervals are over speakers.

    The order of the clips decides the bootstrap's draws: sort them for the same intervals on any number of ranks.
    """
    pairs = [(c, metric) for c in range(len(channels)) for metric in metrics]
    reasons = [withheld(clips, c, metric, metrics) for c, metric in pairs]
    means = np.stack([clip_means(clips, c, metric) for c, metric in pairs])
    means[[bool(reason) for reason in reasons]] = np.nan
    weights = np.stack([clip_weights(clips, metric) for _, metric in pairs])
    interval = bounded_means(bootstrap, means, weights, [clip.speaker for clip in clips])
    rows = []
    for place, (c, metric) in enumerate(pairs):
        bounds = [float(bound[place]) for bound in interval]
        rows.append(_row(clips, c, channels[c], metric, repeats=repeats, bounds=bounds, reason=reasons[place]))
    return rows


def _row(
    clips: Sequence[ClipScores],
    c: int,
    channel: ChannelLabel,
    metric: SpeechMetric,
    *,
    repeats: int,
    bounds: Sequence[float],
    reason: str,
) -> ChannelRow:
    """The row of one metric behind channel number `c`; `bounds` are its mean, low and high, `reason` why withheld."""
    mean, low, high = bounds
    scored = int(sum(np.isfinite(clip.values(c, metric.name)).sum() for clip in clips))
    bits = sum(clip.bits for clip in clips) * repeats
    codewords = sum(clip.codewords for clip in clips) * repeats
    seconds = sum(clip.seconds for clip in clips)
    wrong = sum(float(clip.bit_errors[c].sum()) * clip.bits for clip in clips)
    erased = sum(int(clip.erased_codewords[c].sum()) for clip in clips)
    unscorable = len(clips) * repeats - scored
    crossing = float(sum(clip.bit_rates[c] * clip.seconds for clip in clips))
    coded = sum(clip.coded_bit_rate * clip.seconds for clip in clips)
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
        unscorable=unscorable,
        repeats=repeats,
        measured_bit_error_rate=wrong / bits if bits else 0.0,
        erased_codewords=erased / codewords if codewords else 0.0,
        reasons=dict(Counter(reason for clip in clips for reason in clip.reasons(c, metric.name))),
        codec=clips[0].codec if clips else "",
        bit_rate=round(crossing / seconds, 3) if seconds else 0.0,
        curve=channel.curve,
        imputed=0 if metric.worst is None else _imputed(clips, c, metric),
        withheld=reason,
        delay_ms=max((float(clip.delays_ms[c]) for clip in clips), default=0.0),
        speakers=speaker_count(clips),
        silent=sum(metric.is_worst(clip.values(c, metric.name)) for clip in clips),
        coded_bit_rate=round(coded / seconds, 3) if seconds else 0.0,
    )


def _imputed(clips: Sequence[ClipScores], channel: int, metric: SpeechMetric) -> int:
    """Draws without a score that count in the mean: those of clips that weigh something."""
    lacking = [int(np.isnan(clip.values(channel, metric.name)).sum()) for clip in clips]
    return int(sum(count for count, weight in zip(lacking, clip_weights(clips, metric), strict=True) if weight > 0))


def paired_gaps(
    clips: Sequence[ClipScores],
    others: Sequence[ClipScores],
    channel: int,
    metric: SpeechMetric,
    *,
    other_channel: int | None = None,
) -> tuple[np.ndarray, int]:
    """Each clip's mean difference over its draws [clips], and the number of draws that have both scores.

    A draw that lacks one counts as in a mean (`SpeechMetric.counted`). `clips` and `others` hold the same clips in the
    same order; `other_channel` is the channel of `others`, where it is another one.
    """
    gaps, draws = np.full(len(clips), np.nan), 0
    second = channel if other_channel is None else other_channel
    for place, (clip, other) in enumerate(zip(clips, others, strict=True)):
        values, baseline = clip.values(channel, metric.name), other.values(second, metric.name)
        gaps[place] = (metric.counted(values) - metric.counted(baseline)).mean()
        draws += int(np.isfinite(values - baseline).sum())
    return (pooled_terms(gaps, clip_weights(clips, metric)) if metric.pooled else gaps), draws


def clip_means(clips: Sequence[ClipScores], channel: int, metric: SpeechMetric) -> np.ndarray:
    """Each clip's mean over its repeats [clips]; NaN where a draw has no score and the metric no worst value.

    Of a pooled metric, what the clip adds to the rate over all clips (`pooled_terms`).
    """
    means = np.array([metric.counted(clip.values(channel, metric.name)).mean() for clip in clips])
    return pooled_terms(means, clip_weights(clips, metric)) if metric.pooled else means


def clip_weights(clips: Sequence[ClipScores], metric: SpeechMetric) -> np.ndarray:
    """How much each clip counts in a metric's mean [clips]."""
    return np.array([clip.weight(metric.name) if metric.pooled else 1.0 for clip in clips])


def withheld(clips: Sequence[ClipScores], channel: int, metric: SpeechMetric, metrics: Sequence[SpeechMetric]) -> str:
    """Why the mean of a metric behind a channel says nothing, by `SpeechMetric.needs`; empty if it does.

    Without the metric that it needs among `metrics`, nothing is withheld.
    """
    needed = next((m for m in metrics if metric.needs and m.name == metric.needs.metric), None)
    if not clips or needed is None or metric.needs is None:
        return ""
    low = float(clip_means(clips, channel, needed).mean()) < metric.needs.least
    return f"mean {needed.label} below {metric.needs.least:g}: {metric.needs.why}" if low else ""


def logged_values(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric]) -> dict[str, float]:
    """What loggers and callbacks that monitor get, by `ChannelRow.key`: means, the worst value for a withheld one.

    A monitored value must be there, and never favour noise.
    """
    worst: Mapping[str, float | None] = {metric.name: metric.worst for metric in metrics}
    values = {}
    for row in rows:
        floor = worst[row.metric]
        values[row.key] = floor if row.withheld and floor is not None else row.mean
    return values


def speaker_count(clips: Sequence[ClipScores]) -> int:
    """Number of different speakers; 0 where one of a clip is not known."""
    names = {clip.speaker for clip in clips}
    return 0 if "" in names else len(names)


def stated_clips(clips: int, speakers: int) -> str:
    """For captions: "44 clips of 31 speakers", or "44 clips" where speakers are not known."""
    return f"{clips} clip{'s' * (clips != 1)}" + (f" of {speakers} speaker{'s' * (speakers != 1)}" if speakers else "")
