"""Reads the logged runs of one folder: scores of every clip, agreement, sensitivity, operating curve."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.metrics.checks import require
from callbacks.report.results.evaluation import Evaluation, Gap, read_evaluation
from callbacks.report.systems import reading
from codec.errors import InvalidValue, UnreadableFile


class Logged(NamedTuple):
    """The runs of a folder; None for a run that is missing.

    Attributes:
        codecs: every codec behind plain flips.
        maps: FSQ and RVQ behind flips by index assignment.
        links: FSQ and RVQ behind flips, bursts and losses by receiver and error correction.
        receivers: FSQ and RVQ behind noise and losses by what the receiver makes of them.
        field: every codec behind plain flips by all metrics, word error rates among them; `field_note` is the sentence
            in its `note.txt`, which says what its clips are.
        fine_tuning: codecs, and each fine-tuned as long without and with flips.
        seeds: quantizers of quickstart size from several training seeds, "FSQ seed 0" and so on, behind plain flips.
        students: `agreement.json` of each student, by the name of its run; `student` is the pretrained one. The
            sentence in a run's `note.txt` says how it differs, under the key `note`.
        bits: rows of `sensitivity.csv` of the FSQ codec.
    """

    codecs: Evaluation
    maps: Evaluation | None
    links: Evaluation | None
    receivers: Evaluation | None
    field: Evaluation | None
    field_note: str
    fine_tuning: Evaluation | None
    seeds: Evaluation | None
    students: dict[str, dict[str, Any]]
    bits: list[dict[str, str]] | None
    choices: list[dict[str, str]] | None


def read_logged(folder: Path) -> Logged:
    """The runs `codecs`, `maps`, `links` and so on below a folder; all but the first may be missing.

    Raises:
        UnreadableFile: `codecs` is missing, or a file is incomplete.
        InvalidValue: runs have different clips, seeds or confidence.
    """
    codecs = read_evaluation(folder / "codecs" / "channel.json", metrics=("stoi", "pesq_wb"))
    if codecs is None:
        raise UnreadableFile(
            str(folder / "codecs"), allowed="has no channel.json", remedy="run `make results` first, or give its folder"
        )
    further = {}
    field = read_evaluation(folder / "field" / "channel.json")  # may be of the clips of one language
    seeds = read_evaluation(folder / "seeds" / "channel.json")  # of the demo corpus
    for name in ("maps", "links", "receivers", "fine_tuning"):
        found = further[name] = read_evaluation(folder / name / "channel.json")
        if found is not None and (found.clips, found.bootstrap) != (codecs.clips, codecs.bootstrap):
            raise InvalidValue(
                f"{folder} holds codecs scored on {_stated(codecs)} and {name} on {_stated(found)}",
                remedy="test both on the same",
            )
    students = {path.parent.name: _student(path, codecs) for path in sorted(folder.glob("student*/agreement.json"))}
    note, bits = _note(folder / "field"), _bits(folder / "bits" / "sensitivity.csv")
    choices = _choices(folder / "operating_curve" / "operating_curve.csv")
    named = {"field": field, "field_note": note, "seeds": seeds, "students": students, "bits": bits}
    return Logged(codecs, **further, **named, choices=choices)  # type: ignore[arg-type]


def _stated(run: Evaluation) -> str:
    draws = f"{run.repeats} draw{'s' * (run.repeats > 1)}"
    return f"{len(run.clips)} clips ({run.clips[0]}, ...), {draws}, {run.bootstrap}"


def _student(path: Path, codecs: Evaluation) -> dict[str, Any]:
    """A complete `agreement.json`, with NaN instead of null."""
    with reading(path, remedy="test the student again"):
        document = json.loads(path.read_text(encoding="utf-8"))
        clips = sorted(clip["id"] for clip in document["clips"])
        for row in document["agreement"]:
            row.update({key: _number(row[key]) for key in ("measured", "chance")})
        for row in document["differences"]:
            mean, low, high = (_number(row[key]) for key in ("difference", "low", "high"))
            if "withheld" not in row:  # older files have intervals that cover too little: the means alone are kept
                low = high = math.nan
            row["gap"] = Gap(mean, low, high, row["draws"], row["draws"] + row["unpaired"])
        figures = {row["figure"] for row in document["agreement"]}
        lacking = {"exact code", "same level", "within one level", "cosine of quantizer outputs"} - figures
        require(not lacking, f"it lacks {', '.join(sorted(lacking))}")
        require(len(document["costs"]) in (0, 2), "it needs the costs of teacher and student, or none")
        for cost in document["costs"]:
            for key in ("parameters", "macs_per_second", "real_time_factor"):
                require(float(cost[key]) > 0, f"costs: {key}", cost[key], "must be above 0")
        for row in document.setdefault("scores", []):
            require(isinstance(row["metric"], str) and isinstance(row["channel"], str), "scores need names")
            row["unscorable"] = int(row["unscorable"])
        for row in document["differences"]:
            require(isinstance(row["metric"], str) and isinstance(row["channel"], str), "differences need names")
        document["note"] = _note(path.parent)
    if clips != codecs.clips:
        raise InvalidValue(
            str(path),
            allowed=f"is of {len(clips)} clips, codecs of {_stated(codecs)}",
            remedy="test both on the same clips",
        )
    return document


def _note(folder: Path) -> str:
    """The sentence in a run's `note.txt`; empty where there is none."""
    note = folder / "note.txt"
    return " ".join(note.read_text(encoding="utf-8").split()) if note.is_file() else ""


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _bits(path: Path) -> list[dict[str, str]] | None:
    if not path.is_file():
        return None
    with reading(path, remedy="test sensitivity again"):
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for row in rows:
            for key in ("loss", "low", "high", "displacement", "pairs", "flip_rate"):
                row[key] = row[key] or "nan"  # a withheld metric has no loss
                float(row[key])
        require(any(row["part"].startswith("bit ") and row["metric"] for row in rows), "it has no bits")
    return rows


def _choices(path: Path) -> list[dict[str, str]] | None:
    """The rows of an `operating_curve.csv`, each the best system behind a channel for a rate."""
    if not path.is_file():
        return None
    with reading(path, remedy="test the operating curve again"):
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        for row in rows:
            for key in ("rate_limit", "delay_limit_ms", "mean", "low", "high", "bit_rate", "delay_ms"):
                float(row[key])
            require(bool(row["channel"] and row["best"]), "it has a row without a channel or a system")
    return rows
