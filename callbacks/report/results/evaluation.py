"""Scores of systems on the same clips, from a run's `channel.json`: means, and paired differences with intervals."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from callbacks.metrics.checks import require
from callbacks.report.systems import Setting, System, read_bootstrap, read_systems, reading
from callbacks.scoring.bootstrap import Bootstrap, MeanInterval, crossed_mean
from callbacks.scoring.scores import ChannelRow, clip_means, stated_clips, withheld


class Gap(NamedTuple):
    """A mean over clips, or a mean paired difference, with its bounds; NaN where there is none.

    `draws` of `of` draws have a score, and in a difference both scores; the others count with the metric's worst value.
    """

    mean: float
    low: float
    high: float
    draws: int
    of: int

    @property
    def complete(self) -> bool:
        """Whether mean and bounds are numbers and every draw has a score."""
        return all(map(math.isfinite, self[:3])) and self.draws == self.of


class Evaluation(NamedTuple):
    """A `channel.json`: its systems by name, all on the same clips (ids, sorted).

    Systems whose names differ only in a last " seed N" are random variants of one system, which bears the name before.
    """

    systems: dict[str, System]
    clips: list[str]
    bootstrap: Bootstrap
    repeats: int

    @property
    def channels(self) -> list[Setting]:
        """The channels, by kind and rate."""
        return sorted(next(iter(self.systems.values())).channels, key=lambda c: c.error_rate)

    @property
    def speakers(self) -> list[str]:
        """Who speaks in each clip; empty where not known."""
        clips = next(iter(self.systems.values())).clips
        return [clips[clip_id].get("speaker", "") for clip_id in self.clips]

    @property
    def speaker_count(self) -> int:
        """Number of different speakers; 0 where one of a clip is not known."""
        return len(set(self.speakers)) if all(self.speakers) else 0

    @property
    def over(self) -> str:
        """Clips and speakers for a caption: "44 clips of 31 speakers"."""
        return stated_clips(len(self.clips), self.speaker_count)

    def rows(self, system: str, *, clips: Sequence[str] | None = None) -> dict[tuple[str, str], ChannelRow]:
        """A system's means by (channel, metric), over all clips or some."""
        rows = self.systems[system].rows(self.clips if clips is None else clips, self.bootstrap)
        return {(row.channel, row.metric): row for row in rows}

    @property
    def clean(self) -> Setting:
        """The channel without errors."""
        return self.channels[0]

    def channel(self, rate: float, curve: str = "bsc") -> str | None:
        """The name of the channel of a kind at an error rate; None where there is none."""
        return next((c.name for c in self.channels if c.curve == curve and c.error_rate == rate), None)

    def seeds(self, name: str) -> list[str]:
        """The systems that bear a name, one for each seed; none where there is none."""
        return [system for system in self.systems if system == name or system.rpartition(" seed ")[0] == name]

    def level(self, name: str, *, channel: str, metric: str = "stoi") -> Gap:
        """The mean of a system, over its seeds where it has several."""
        return self._contrast([name], [], [channel], metric)

    def gap(self, system: str, baseline: str, *, channel: str, metric: str) -> Gap:
        """A system's score minus its baseline's, paired over clips and draws."""
        return self._contrast([system], [baseline], [channel], metric)

    def fragility(self, system: str, baseline: str, *, channel: str, metric: str) -> Gap:
        """The change of a system's score by a channel minus that of its baseline's, paired over clips."""
        return self._contrast([system], [baseline], [channel, self.clean.name], metric)

    def change(self, system: str, *, channel: str, start: str | None = None, metric: str = "stoi") -> Gap:
        """A system's score behind a channel minus that behind another, or without errors, paired over clips."""
        return self._contrast([system], [], [channel, start or self.clean.name], metric)

    def silent_or_unscored(self, system: str, *, channels: Sequence[str | None], metric: str = "stoi") -> int:
        """Number of draws behind some channels without a score, or with the worst one, as silence has, or beyond it."""
        stated = next(m for m in self.systems[self.seeds(system)[0]].metrics if m.name == metric)
        count = 0
        for name in self.seeds(system):
            for entry in self.systems[name].clips.values():
                for channel in channels:
                    values = entry["channels"][channel]["scores"][metric] if channel else []
                    found = np.array([np.nan if value is None else value for value in values])
                    count += int(np.isnan(found).sum()) + stated.is_worst(found)
        return count

    def _contrast(self, plus: Sequence[str], minus: Sequence[str], channels: Sequence[str], metric: str) -> Gap:
        """Mean over clips of systems minus others, behind the first channel, minus the same behind the second."""
        groups, scored = [], np.ones((len(self.clips), self.repeats), dtype=bool)
        for sign, name in [(1, name) for name in plus] + [(-1, name) for name in minus]:
            by_seed = []
            for system in self.seeds(name):
                total = np.zeros(len(self.clips))
                for turn, channel in zip((1, -1), channels, strict=False):
                    found, complete = self._values(system, channel, metric)
                    total += sign * turn * found
                    scored &= complete
                by_seed.append(total)
            groups.append(np.stack(by_seed))
        draws = int(scored.sum())
        if max(map(len, groups)) > 1:
            bounds = crossed_mean(*groups, clusters=self.speakers, confidence=self.bootstrap.confidence)
        else:
            interval = self.bootstrap.means(np.sum(groups, axis=0), self.speakers)
            bounds = MeanInterval(*(float(bound[0]) for bound in interval))
        return Gap(*bounds, draws, scored.size)

    def _values(self, system: str, channel: str, metric: str) -> tuple[np.ndarray, np.ndarray]:
        """A system's mean of each clip [clips], and which draws have a score [clips, R]."""
        setting = next(c for c in self.channels if c.name == channel)
        stated = next(m for m in self.systems[system].metrics if m.name == metric)
        scores = self.systems[system].scores(self.clips, [setting], repeats=self.repeats)
        scored = np.stack([np.isfinite(clip.values(0, metric)) for clip in scores])
        why = withheld(scores, 0, stated, self.systems[system].metrics)
        means = clip_means(scores, 0, stated)
        return (means * np.nan if why else means), scored


def parse_evaluation(path: Path) -> Evaluation:
    """A `channel.json` of any channels and metrics; to be called inside `reading`."""
    document = json.loads(path.read_text(encoding="utf-8"))
    systems = {system.name: system for system in read_systems(path.parent, document, path.parent.name)}
    first = next(iter(systems.values()))
    return Evaluation(systems, sorted(first.clips), read_bootstrap(document), first.repeats)


def read_evaluation(path: Path, *, metrics: Sequence[str] = ("stoi",)) -> Evaluation | None:
    """A `channel.json` that has a channel without errors and some metrics; None where there is no file.

    Raises:
        UnreadableFile: it is incomplete.
    """
    if not path.is_file():
        return None
    with reading(path, remedy="test the run again"):
        found = parse_evaluation(path)
        first = next(iter(found.systems.values()))
        missing = set(metrics) - {metric.name for metric in first.metrics}
        complete = found.clips and found.channels and found.clean.error_rate == 0 and not missing
        require(bool(complete), f"it needs clips, a channel without errors, and the metrics {' and '.join(metrics)}")
    return found
