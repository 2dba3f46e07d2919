"""Reads the logged runs of one folder: scores of every clip, agreement, sensitivity."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from callbacks.metrics.checks import require
from callbacks.report.systems import Setting, System, read_bootstrap, read_systems, reading
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.scores import ChannelRow, paired_gaps
from codec.errors import InvalidValue, UnreadableFile


class Gap(NamedTuple):
    """A mean paired difference over clips, with its bounds; NaN without a pair. `draws` of `of` draws are paired."""

    mean: float
    low: float
    high: float
    draws: int
    of: int


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
        rows = self.systems[system].rows(self.clips if clips is None else clips, self.bootstrap)
        return {(row.channel, row.metric): row for row in rows}

    @property
    def clean(self) -> Setting:
        """The channel without errors."""
        return self.channels[0]

    def gap(self, system: str, baseline: str, *, channel: str, metric: str) -> Gap:
        """A system's score minus its baseline's, paired over clips and draws."""
        gaps, draws = self._gaps(system, baseline, channel, metric)
        return self._mean(gaps, draws)

    def fragility(self, system: str, baseline: str, *, channel: str, metric: str) -> Gap:
        """The change of a system's score by a channel minus that of its baseline's, paired over clips."""
        gaps, draws = self._gaps(system, baseline, channel, metric)
        before, least = self._gaps(system, baseline, self.clean.name, metric)
        return self._mean(gaps - before, min(draws, least))

    def _gaps(self, system: str, baseline: str, channel: str, metric: str) -> tuple[np.ndarray, int]:
        setting = next(c for c in self.channels if c.name == channel)
        first, second = (
            self.systems[name].scores(self.clips, [setting], repeats=self.repeats) for name in (system, baseline)
        )
        return paired_gaps(first, second, 0, metric)

    def _mean(self, gaps: np.ndarray, draws: int) -> Gap:
        mean, low, high = (float(bound[0]) for bound in self.bootstrap.means(gaps[None]))
        return Gap(mean, low, high, draws, len(self.clips) * self.repeats)


class Logged(NamedTuple):
    """The runs of a folder; None for a run that is missing.

    Attributes:
        codecs: every codec behind plain flips.
        links: FSQ and RVQ behind all kinds of channels, with controls and error correction.
        students: `agreement.json` of each student, by the name of its run; `student` is the pretrained one. The
            sentence in a run's `note.txt` says how it differs, under the key `note`.
        bits: rows of `sensitivity.csv` of the FSQ codec.
    """

    codecs: Evaluation
    links: Evaluation | None
    students: dict[str, dict[str, Any]]
    bits: list[dict[str, str]] | None


def read_logged(folder: Path) -> Logged:
    """The runs `codecs`, `links`, `student…` and `bits` below a folder; all but the first may be missing.

    Raises:
        UnreadableFile: `codecs` is missing, or a file is incomplete.
        InvalidValue: runs have different clips, seeds or numbers of draws.
    """
    codecs = _evaluation(folder / "codecs" / "channel.json")
    if codecs is None:
        raise UnreadableFile(
            str(folder / "codecs"), allowed="has no channel.json", remedy="run `make results` first, or give its folder"
        )
    links = _evaluation(folder / "links" / "channel.json")
    if links is not None and (links.clips, links.repeats, links.bootstrap) != (
        codecs.clips, codecs.repeats, codecs.bootstrap
    ):  # fmt: skip
        raise InvalidValue(
            f"{folder} holds codecs scored on {_stated(codecs)} and links on {_stated(links)}",
            remedy="test both on the same",
        )
    students = {path.parent.name: _student(path, codecs) for path in sorted(folder.glob("student*/agreement.json"))}
    return Logged(codecs, links, students, _bits(folder / "bits" / "sensitivity.csv"))


def _stated(run: Evaluation) -> str:
    draws = f"{run.repeats} draw{'s' * (run.repeats > 1)}"
    return f"{len(run.clips)} clips ({run.clips[0]}, ...), {draws}, {run.bootstrap}"


def _evaluation(path: Path) -> Evaluation | None:
    if not path.is_file():
        return None
    with reading(path, remedy="test the run again"):
        document = json.loads(path.read_text(encoding="utf-8"))
        systems = {system.name: system for system in read_systems(path.parent, document, path.parent.name)}
        first = next(iter(systems.values()))
        found = Evaluation(systems, sorted(first.clips), read_bootstrap(document), first.repeats)
        missing = {"stoi", "pesq_wb"} - {metric.name for metric in first.metrics}
        complete = found.clips and found.channels and found.clean.error_rate == 0 and not missing
        require(bool(complete), "it needs clips, a channel without errors, and the metrics stoi and pesq_wb")
    return found


def _student(path: Path, codecs: Evaluation) -> dict[str, Any]:
    """A complete `agreement.json`, with NaN instead of null."""
    with reading(path, remedy="test the student again"):
        document = json.loads(path.read_text(encoding="utf-8"))
        clips = sorted(clip["id"] for clip in document["clips"])
        for row in document["agreement"]:
            row.update({key: _number(row[key]) for key in ("measured", "chance")})
        for row in document["differences"]:
            mean, low, high = (_number(row[key]) for key in ("difference", "low", "high"))
            row["gap"] = Gap(mean, low, high, row["draws"], row["draws"] + row["unpaired"])
        figures = {row["figure"] for row in document["agreement"]}
        lacking = {"exact code", "same level", "within one level", "cosine of quantizer outputs"} - figures
        require(not lacking, f"it lacks {', '.join(sorted(lacking))}")
        require(len(document["costs"]) in (0, 2), "it needs the costs of teacher and student, or none")
    note = path.with_name("note.txt")
    document["note"] = " ".join(note.read_text(encoding="utf-8").split()) if note.is_file() else ""
    if clips != codecs.clips:
        raise InvalidValue(
            str(path),
            allowed=f"is of {len(clips)} clips, codecs of {_stated(codecs)}",
            remedy="test both on the same clips",
        )
    return document


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _bits(path: Path) -> list[dict[str, str]] | None:
    if not path.is_file():
        return None
    with reading(path, remedy="test sensitivity again"):
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for row in rows:
            for key in ("loss", "low", "high", "displacement", "pairs", "flip_rate"):
                float(row[key])
        require(any(row["part"].startswith("bit ") for row in rows), "it has no bits")
    return rows
