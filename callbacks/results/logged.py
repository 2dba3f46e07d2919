"""Reads what the scoring runs of one folder have logged: scores of every clip, agreement, sensitivity."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from callbacks.channel_scores import ChannelRow, paired_gaps, summarise
from callbacks.report.systems import Setting, System, read_systems
from callbacks.statistics import Bootstrap


class Gap(NamedTuple):
    """A mean paired difference over clips, with its bounds, and the clips that it rests on."""

    mean: float
    low: float
    high: float
    clips: int


class Evaluation(NamedTuple):
    """A `channel.json`: its systems by name, all on the same clips (ids, sorted)."""

    systems: dict[str, System]
    clips: list[str]
    bootstrap: Bootstrap
    repeats: int

    @property
    def channels(self) -> list[Setting]:
        """The channels, by kind and rate."""
        return sorted(next(iter(self.systems.values())).channels, key=lambda c: c.error_rate)

    def rows(self, system: str, *, clips: Sequence[str] | None = None) -> dict[tuple[str, str], ChannelRow]:
        """A system's means by (channel, metric), over all clips or some."""
        found = self.systems[system]
        rows = summarise(
            found.scores(self.clips if clips is None else clips, found.channels, repeats=self.repeats),
            found.channels,
            found.metrics,
            repeats=self.repeats,
            bootstrap=self.bootstrap,
        )
        return {(row.channel, row.metric): row for row in rows}

    def gap(self, system: str, baseline: str, *, channel: str, metric: str) -> Gap:
        """A system's score minus its baseline's, paired over clips and draws."""
        setting = next(c for c in self.channels if c.name == channel)
        first, second = (
            self.systems[name].scores(self.clips, [setting], repeats=self.repeats) for name in (system, baseline)
        )
        gaps, _ = paired_gaps(first, second, 0, metric)
        interval = self.bootstrap.means(gaps[None])
        return Gap(
            float(interval.mean[0]), float(interval.low[0]), float(interval.high[0]), int(np.isfinite(gaps).sum())
        )


class Logged(NamedTuple):
    """What there is in a folder; None for a run that is not.

    Attributes:
        codecs: every codec behind plain flips.
        links: FSQ and RVQ behind all kinds of channels, with controls and error correction.
        students: `agreement.json` of each student, by the name of its run; the one that comes along is `student`.
        bits: rows of `sensitivity.csv` of the FSQ codec.
    """

    codecs: Evaluation
    links: Evaluation | None
    students: dict[str, dict[str, Any]]
    bits: list[dict[str, str]] | None


def read_logged(folder: Path) -> Logged:
    """The runs `codecs`, `links`, `student…` and `bits` below a folder; all but the first may be missing.

    Raises:
        ValueError: `codecs` is missing, or a file is incomplete.
    """
    codecs = _evaluation(folder / "codecs" / "channel.json")
    if codecs is None:
        raise ValueError(f"{folder / 'codecs'} has no channel.json: run `make results` first, or give its folder")
    students = {}
    for path in sorted(folder.glob("student*/agreement.json")):
        try:
            students[path.parent.name] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is incomplete ({error}): test the student again") from error
    bits = folder / "bits" / "sensitivity.csv"
    return Logged(
        codecs,
        _evaluation(folder / "links" / "channel.json"),
        students,
        list(csv.DictReader(bits.read_text(encoding="utf-8").splitlines())) if bits.is_file() else None,
    )


def _evaluation(path: Path) -> Evaluation | None:
    if not path.is_file():
        return None
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        systems = {system.name: system for system in read_systems(path.parent, document, path.parent.name)}
        settings = document["settings"]
        bootstrap = Bootstrap(settings["bootstrap"], settings["confidence"], settings["seed"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is incomplete or not of an evaluation ({type(error).__name__}: {error}): test the run again"
        ) from error
    clips = sorted(next(iter(systems.values())).clips)
    return Evaluation(systems, clips, bootstrap, settings["repeats"])
