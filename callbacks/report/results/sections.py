"""Values for the sections of RESULTS.md: tables, and numbers for the text of the template `results.md.j2`."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from math import isfinite, nan
from pathlib import PurePosixPath
from typing import NamedTuple

from callbacks.metrics.checks import require
from callbacks.report.results.evaluation import Evaluation
from callbacks.report.results.logged import Logged
from callbacks.report.results.markdown import Table, change, figure, percent, rate, score, two_decimals
from callbacks.report.results.published import PUBLISHED
from callbacks.scoring.scores import ChannelRow

CONTINUED, FLIPS = " continued", " through flips"  # a codec fine-tuned without and with bit errors has these suffixes
LABELS = {"stoi": "STOI", "estoi": "ESTOI", "pesq_wb": "PESQ-WB", "mel": "mel distance (dB)"}
PAPER = {
    "exact code": "2 %",
    "same level": "53 %",
    "within one level": "93 %",
    "cosine of quantizer outputs": "0.73",
}


class Reconstruction(NamedTuple):
    """Scores without errors: of all clips; of the rest of `clips` clips without `left_out`, if any; published ones."""

    all: Table
    rest: Table | None
    left_out: list[str]
    clips: int
    why: str
    published: Table


class FineTuning(NamedTuple):
    """What fine-tuning changes, a table for each codec, over some draws a clip."""

    tables: list[Table]
    repeats: int


class Students(NamedTuple):
    """Agreement of each student with the teacher, notes on runs, differences of scores, and costs if measured."""

    agreement: Table
    notes: list[tuple[str, str]]
    differences: Table
    costs: Table | None


class Bits(NamedTuple):
    """The loss with flips of each bit, their probability, and the number of clips."""

    flip_rate: str
    clips: str
    losses: Table


def reconstruction(codecs: Evaluation, leave_out: Sequence[str], why: str = "") -> Reconstruction:
    """Scores without errors, on all clips and without those whose names match a pattern of `leave_out`.

    Raises:
        InvalidValue: a pattern matches no clip, or all clips are left out.
    """
    matches = {p: {c for c in codecs.clips if fnmatch(PurePosixPath(c).name, p) or fnmatch(c, p)} for p in leave_out}
    idle = [pattern for pattern, clips in matches.items() if not clips]
    count = f"none of {len(codecs.clips)} clips"
    require(not idle, "--leave-out", " ".join(idle), f"fits {count}, such as {codecs.clips[0]}")
    rest = [clip for clip in codecs.clips if not any(clip in clips for clips in matches.values())]
    require(bool(rest), "--leave-out", " ".join(leave_out), f"leaves {count}", "drop a pattern")
    rows = [[p.codec, f"{p.rate:g}", f"{p.pesq_wb:.2f}", f"{p.pesq_nb:.2f}", f"{p.stoi:.2f}"] for p in PUBLISHED]
    return Reconstruction(
        all=_clean(codecs, codecs.clips),
        rest=_clean(codecs, rest) if leave_out else None,
        left_out=[f"`{pattern}`" for pattern in leave_out],
        clips=len(rest),
        why=why,
        published=Table(["codec", "kbit/s", "PESQ-WB", "PESQ-NB", "STOI"], rows),
    )


def _clean(codecs: Evaluation, clips: Sequence[str]) -> Table:
    """Every codec's scores without errors, over some clips."""
    first = next(iter(codecs.systems.values()))
    clean = codecs.clean.name
    coded = any(
        isfinite(clip.get("coded_bit_rate") or nan) for s in codecs.systems.values() for clip in s.clips.values()
    )
    rows = []
    for name, system in codecs.systems.items():
        found = codecs.rows(name, clips=clips)
        rates = [f"{system.bit_rates[clean] / 1000:g}", *[coded_rate(next(iter(found.values())))] * coded]
        scores = [score(found.get((clean, metric.name))) for metric in first.metrics]
        rows.append([name, *rates, f"{system.facts['parameters']:,}", *scores])
    head = ["codec", "kbit/s", *["coded kbit/s"] * coded, "parameters"]
    return Table([*head, *(metric.label_with_unit for metric in first.metrics)], rows)


def coded_rate(row: ChannelRow) -> str:
    """The rate behind an adaptive arithmetic coder in kbit/s; a dash where the run did not measure it."""
    return f"{row.coded_bit_rate / 1000:.3g}" if isfinite(row.coded_bit_rate) else "–"


def flips(codecs: Evaluation) -> list[Table]:
    """Scores of every codec behind plain flips, a table for each metric."""
    tables = []
    for metric in ("stoi", "pesq_wb"):
        rows = []
        for name in codecs.systems:
            found = codecs.rows(name)
            rows.append([name, *(score(found.get((c.name, metric)), interval=False) for c in codecs.channels)])
        tables.append(Table([LABELS[metric], *(rate(c.error_rate) for c in codecs.channels)], rows))
    return tables


def tuned(run: Evaluation) -> list[str]:
    """The codecs that were fine-tuned both without and through flips."""
    return [name for name in run.systems if {name + CONTINUED, name + FLIPS} <= set(run.systems)]


def fine_tuning(run: Evaluation | None) -> FineTuning | None:
    """What fine-tuning through flips changes, and the same length without flips, a table for each codec."""
    if run is None:
        return None
    tables = []
    for name in tuned(run):
        pairs = [(name + FLIPS, name), (name + CONTINUED, name), (name + FLIPS, name + CONTINUED)]
        rows = [
            [rate(c.error_rate), figure(run.level(name, channel=c.name).mean),
             *(change(run.gap(*pair, channel=c.name, metric="stoi")) for pair in pairs)]
            for c in run.channels
        ]  # fmt: skip
        head = [f"{name}, bits flipped", "STOI before", "through flips", "as long without flips", "gain of the flips"]
        tables.append(Table(head, rows))
    return FineTuning(tables, run.repeats) if tables else None


def students(logged: Logged) -> Students | None:
    """Agreement of each student with the teacher, by chance and in the paper, its scores and its cost."""
    if not logged.students:
        return None
    differences = [
        [name, LABELS[row["metric"]], row["channel"].removeprefix("bsc-"), change(row["gap"])]
        for name, found in logged.students.items()
        for row in found["differences"]
        if row["metric"] in ("stoi", "pesq_wb")
    ]
    return Students(
        _agreement(logged),
        [(name, found["note"]) for name, found in logged.students.items() if found["note"]],
        Table(["student", "metric", "bit error rate", "difference"], differences),
        _costs(logged),
    )


def _agreement(logged: Logged) -> Table:
    """Agreement of each student's codes with the teacher's."""
    measured = {name: {r["figure"]: r for r in found["agreement"]} for name, found in logged.students.items()}
    rows = []
    for line, published in PAPER.items():
        show = two_decimals if line.startswith("cosine") else percent
        cells = [found[line] for found in measured.values()]
        rows.append([line, *(f"{show(r['measured'])} ({show(r['chance'])})" for r in cells), published])
    return Table(["agreement with the teacher", *(f"{name} (chance)" for name in measured), "paper"], rows)


def _costs(logged: Logged) -> Table | None:
    """Costs of the encoders of the students that were measured."""
    rows = []
    for name, found in logged.students.items():
        if found["costs"]:
            teacher, student = found["costs"]
            keys = ("parameters", "macs_per_second", "real_time_factor")
            parameters, macs, time = (teacher[key] / student[key] for key in keys)
            facts = [f"{student['parameters']:,} (1 : {parameters:.1f})"]
            facts += [f"{student['macs_per_second'] / 1e6:.1f} (1 : {macs:.1f})", f"{time:.1f} times as fast"]
            rows.append([name, *facts])
    head = ["student", "encoder parameters (to the teacher's)", "million multiply-accumulates a second", "on a CPU"]
    return Table(head, rows) if rows else None


def bits(rows: Sequence[dict[str, str]] | None) -> Bits | None:
    """The importance of each bit of a frame; None where it was not measured."""
    if rows is None:
        return None
    found: dict[str, dict[str, dict[str, str]]] = {}
    for row in rows:
        if row["part"].startswith("bit "):
            found.setdefault(row["part"], {})[row["metric"]] = row
    body = []
    for part, metrics in found.items():
        first = next(iter(metrics.values()))
        losses = [
            f"{figure(float(r['loss']))} [{figure(float(r['low']))}, {figure(float(r['high']))}]"
            for r in metrics.values()
        ]
        body.append([part, figure(float(first["displacement"])), *losses])
    head = [f"{LABELS.get(name, name)} lost" for name in next(iter(found.values()))]
    return Bits(rows[0]["flip_rate"], rows[0]["pairs"], Table(["bit", "displacement", *head], body))
