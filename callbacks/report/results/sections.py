"""The sections of RESULTS.md, each a list of Markdown lines."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import PurePosixPath

from callbacks.report.results.logged import Evaluation, Logged
from callbacks.report.results.markdown import change, figure, percent, score, table, two_decimals
from callbacks.report.results.published import PUBLISHED

AWARE = " aware"  # a codec's name with this after it is the codec fine-tuned for its channel
LABELS = {"stoi": "STOI", "pesq_wb": "PESQ-WB", "mel": "mel distance (dB)"}


def reconstruction(codecs: Evaluation, leave_out: Sequence[str], why: str = "") -> list[str]:
    """Scores without errors, on all clips and without those whose names fit a pattern of `leave_out`.

    Raises:
        ValueError: a pattern fits no clip, or all clips are left out.
    """
    lines = [
        "## 1 Reconstruction",
        "",
        f"No bit errors, {len(codecs.clips)} clips; mean [95 % interval over clips].",
        "",
    ]
    lines += _clean(codecs, codecs.clips)
    fitting = {p: {c for c in codecs.clips if fnmatch(PurePosixPath(c).name, p) or fnmatch(c, p)} for p in leave_out}
    if idle := [pattern for pattern, clips in fitting.items() if not clips]:
        raise ValueError(
            f"--leave-out {' '.join(idle)} fits none of {len(codecs.clips)} clips, such as {codecs.clips[0]}"
        )
    rest = [clip for clip in codecs.clips if not any(clip in clips for clips in fitting.values())]
    if not rest:
        raise ValueError(f"--leave-out {' '.join(leave_out)} leaves none of {len(codecs.clips)} clips: drop a pattern")
    if leave_out:
        reason = f", {why}" if why else ""
        lines += [f"The same without {', '.join(f'`{p}`' for p in leave_out)}{reason} ({len(rest)} clips):", ""]
        lines += _clean(codecs, rest)
    lines += [
        "Published, LibriSpeech test-clean (Llasa, arXiv 2502.04128, table 1). Not like for like: other recordings, "
        "larger models, and far longer training on far more data.",
        "",
    ]
    rows = [[p.codec, f"{p.rate:g}", f"{p.pesq_wb:.2f}", f"{p.pesq_nb:.2f}", f"{p.stoi:.2f}"] for p in PUBLISHED]
    return lines + table(["codec", "kbit/s", "PESQ-WB", "PESQ-NB", "STOI"], rows)


def _clean(codecs: Evaluation, clips: Sequence[str]) -> list[str]:
    first = next(iter(codecs.systems.values()))
    clean = codecs.clean.name
    head = ["codec", "kbit/s", "parameters", *(f"{m.label}{f' ({m.unit})' if m.unit else ''}" for m in first.metrics)]
    rows = []
    for name, system in codecs.systems.items():
        found = codecs.rows(name, clips=clips)
        facts = [f"{system.bit_rates[clean] / 1000:g}", f"{system.facts['parameters']:,}"]
        rows.append([name, *facts, *(score(found.get((clean, metric.name))) for metric in first.metrics)])
    return table(head, rows)


def aware_pairs(codecs: Evaluation) -> list[tuple[str, str]]:
    """Each fine-tuned codec with the one it started from."""
    pairs = [(name, name.removesuffix(AWARE)) for name in codecs.systems if name.endswith(AWARE)]
    return [(name, base) for name, base in pairs if base in codecs.systems]


def aware(codecs: Evaluation) -> list[str]:
    """What fine-tuning through the channel changes, paired."""
    pairs = aware_pairs(codecs)
    lines = ["## 3 Trained through the channel", "", "The fine-tuned codec minus the one it started from, paired:", ""]
    for metric in ("stoi", "pesq_wb"):
        rows = [
            [percent(c.error_rate) if c.error_rate else "0",
             *(change(codecs.gap(name, base, channel=c.name, metric=metric)) for name, base in pairs)]
            for c in codecs.channels
        ]  # fmt: skip
        lines += table([f"{LABELS[metric]}, bits flipped", *(base for _, base in pairs)], rows)
    return lines


def flips(codecs: Evaluation) -> list[str]:
    """Scores of every codec behind plain flips."""
    lines = ["### Every codec behind flips", ""]
    for metric in ("stoi", "pesq_wb"):
        rows = []
        for name in codecs.systems:
            found = codecs.rows(name)
            rows.append([name, *(score(found.get((c.name, metric)), interval=False) for c in codecs.channels)])
        lines += table(
            [LABELS[metric], *(percent(c.error_rate) if c.error_rate else "0" for c in codecs.channels)], rows
        )
    return lines


def students(logged: Logged) -> list[str]:
    """Agreement of each student with the teacher beside chance and the paper, its scores and its cost."""
    paper = {
        "exact code": "2 %",
        "same level": "53 %",
        "within one level": "93 %",
        "cosine of quantizer outputs": "0.73",
    }
    lines = [
        "## 4 A second encoder under the same quantizer and decoder",
        "",
        "Chance: the same figure over pairs of different frames, the teacher's code of one, the student's of another.",
        "",
    ]
    names = list(logged.students)
    head = ["agreement with the teacher", *(f"{name} (chance)" for name in names), "paper"]
    measured = {name: {r["figure"]: r for r in found["agreement"]} for name, found in logged.students.items()}
    rows = []
    for line, published in paper.items():
        show = two_decimals if line.startswith("cosine") else percent
        cells = [measured[name][line] for name in names]
        rows.append([line, *(f"{show(r['measured'])} ({show(r['chance'])})" for r in cells), published])
    lines += table(head, rows)
    if notes := [f"- `{name}`: {found['note']}" for name, found in logged.students.items() if found["note"]]:
        lines += [*notes, ""]
    lines += ["Student minus teacher, paired over clips, behind flips:", ""]
    rows = []
    for name in names:
        for row in logged.students[name]["differences"]:
            if row["metric"] in ("stoi", "pesq_wb"):
                rows.append([name, LABELS[row["metric"]], row["channel"].removeprefix("bsc-"), change(row["gap"])])
    lines += table(["student", "metric", "bit error rate", "difference"], rows)
    rows = []
    for name in (name for name in names if logged.students[name]["costs"]):
        teacher, student = logged.students[name]["costs"]
        keys = ("parameters", "macs_per_second", "real_time_factor")
        parameters, macs, time = (teacher[key] / student[key] for key in keys)
        facts = [f"{student['parameters']:,} (1 : {parameters:.1f})"]
        facts += [f"{student['macs_per_second'] / 1e6:.1f} (1 : {macs:.1f})", f"{time:.1f} times as fast"]
        rows.append([name, *facts])
    head = ["student", "encoder parameters (to the teacher's)", "million multiply-accumulates a second", "on a CPU"]
    return lines + (table(head, rows) if rows else ["The encoders' costs were not measured.", ""])


def bits(rows: Sequence[dict[str, str]]) -> list[str]:
    """What each bit of a frame is worth."""
    lines = ["## 5 What each bit is worth", ""]
    lines += [
        f"The FSQ codec, one bit of a frame at a time flipped with probability {rows[0]['flip_rate']}, in "
        f"{rows[0]['pairs']} clips. Bits 0 and 1 are the high and the low bit of the last dimension, and so on. "
        "Displacement: mean squared move of the latent for a flip, over the latent's variance.",
        "",
    ]
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
    return lines + table(["bit", "displacement", *head], body)
