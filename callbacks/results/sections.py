"""The sections of RESULTS.md, each a list of Markdown lines."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch

from callbacks.channel_scores import ChannelRow
from callbacks.comparison_report import baseline_of, same_rate
from callbacks.report.systems import Setting
from callbacks.results.logged import Evaluation, Gap, Logged
from callbacks.results.markdown import change, figure, percent, score, table
from callbacks.results.published import PUBLISHED

Rows = dict[tuple[str, str], ChannelRow]
AWARE = " aware"  # a codec's name with this after it is the codec fine-tuned for its channel
LABELS = {"stoi": "STOI", "pesq_wb": "PESQ-WB", "mel": "mel distance (dB)"}
KINDS = {"bsc": "flipped bits", "gilbert": "bursts of flipped bits (Gilbert–Elliott)", "frame": "lost frames"}


def reconstruction(codecs: Evaluation, leave_out: Sequence[str]) -> list[str]:
    """Scores without errors, on all clips and without those that `leave_out` (patterns of ids) names."""
    lines = [
        "## 1 Reconstruction",
        "",
        f"No bit errors, {len(codecs.clips)} clips; mean [95 % interval over clips].",
        "",
    ]
    lines += _clean(codecs, codecs.clips)
    rest = [clip for clip in codecs.clips if not any(fnmatch(clip, pattern) for pattern in leave_out)]
    if leave_out and rest:
        lines += [f"The same without {', '.join(f'`{p}`' for p in leave_out)} ({len(rest)} clips):", ""]
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
    clean = codecs.channels[0].name
    head = ["codec", "kbit/s", "parameters", *(f"{m.label}{f' ({m.unit})' if m.unit else ''}" for m in first.metrics)]
    rows = []
    for name, system in codecs.systems.items():
        found = codecs.rows(name, clips=clips)
        facts = [f"{system.bit_rates[clean] / 1000:g}", f"{system.facts['parameters']:,}"]
        rows.append([name, *facts, *(score(found.get((clean, metric.name))) for metric in first.metrics)])
    return table(head, rows)


def channels(links: Evaluation) -> list[str]:
    """Every system behind every kind of channel, and its distance from the first system of its rate."""
    lines = ["## 2 FSQ against RVQ on the channel", ""]
    lines += [
        "Equal data, recipe, backbone, decoder and bits per frame; the same draws for all. *Permuted*: code words "
        "renamed at random. *Switched*: RVQ's words chosen after training by binary switching. Codes with error "
        "correction send twice the bits and are compared with each other.",
        "",
    ]
    for kind in dict.fromkeys(c.curve for c in links.channels if c.error_rate > 0):
        lines += _kind(links, kind)
    return lines


def _kind(links: Evaluation, kind: str) -> list[str]:
    """Scores and differences behind one kind of channel."""
    clean = links.channels[0]
    settings = [c for c in links.channels if c.curve == kind and c.error_rate > 0]
    shown, alike = _distinct(links, settings)
    title = next((words for start, words in KINDS.items() if kind.startswith(start)), kind)
    lines = [
        f"### {title[0].upper()}{title[1:]}",
        "",
        f"`{kind}`; the columns are the share of bits wrong or lost.",
        "",
    ]
    for metric in ("stoi", "pesq_wb"):
        rows = [
            [name, f"{links.systems[name].bit_rates[clean.name] / 1000:.3g}",
             *(score(found.get((c.name, metric))) for c in (clean, *settings))]
            for name, found in shown.items()
        ]  # fmt: skip
        lines += table([LABELS[metric], "kbit/s", "0", *(percent(c.error_rate) for c in settings)], rows)
    rows = [
        [f"{name} minus {base}", *(change(links.gap(name, base, channel=c.name, metric="stoi")) for c in settings)]
        for name, base in _baselines(links, list(shown))
    ]
    lines += table(["STOI, paired", *(percent(c.error_rate) for c in settings)], rows)
    return [*lines, f"Left out, for they fare exactly as one above: {', '.join(alike)}.", ""] if alike else lines


def _distinct(links: Evaluation, settings: Sequence[Setting]) -> tuple[dict[str, Rows], list[str]]:
    """Rows by system, and the names of the systems that fare as an earlier one: to a lost frame a map means nothing."""
    shown: dict[str, Rows] = {}
    alike, seen = [], set()
    for name in links.systems:
        rows = links.rows(name)
        means = tuple(rows[c.name, "stoi"].mean for c in settings)
        if means in seen:
            alike.append(name)
        else:
            seen.add(means)
            shown[name] = rows
    return shown, alike


def _baselines(links: Evaluation, names: Sequence[str]) -> list[tuple[str, str]]:
    """Each system but the first of its rate, with that first one."""
    clean = links.channels[0].name
    rates = {name: links.systems[name].bit_rates[clean] for name in names}
    return [
        (name, base)
        for name in names
        if (base := baseline_of(name, rates)) != name and same_rate(rates[name], rates[base])
    ]


def aware(codecs: Evaluation) -> list[str]:
    """What fine-tuning through the channel changes, paired."""
    pairs = [(name, name.removesuffix(AWARE)) for name in codecs.systems if name.endswith(AWARE)]
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
            rows.append([name, *(figure(found[c.name, metric].mean) for c in codecs.channels)])
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
    lines = ["## 4 A second encoder under the same quantizer and decoder", ""]
    names = list(logged.students)
    head = ["agreement with the teacher", *(f"{name} (chance)" for name in names), "paper"]
    measured = {name: {r["figure"]: r for r in found["agreement"]} for name, found in logged.students.items()}
    rows = []
    for line, published in paper.items():
        show = (lambda share: f"{share:.2f}") if line.startswith("cosine") else percent
        cells = [measured[name][line] for name in names]
        rows.append([line, *(f"{show(r['measured'])} ({show(r['chance'])})" for r in cells), published])
    lines += table(head, rows)
    lines += ["Student minus teacher, paired over clips, behind flips:", ""]
    rows = []
    for name in names:
        for row in logged.students[name]["differences"]:
            if row["metric"] in ("stoi", "pesq_wb"):
                gap = change(Gap(row["difference"], row["low"], row["high"], row["pairs"]))
                rows.append([name, LABELS[row["metric"]], row["channel"].removeprefix("bsc-"), gap])
    lines += table(["student", "metric", "bit error rate", "difference"], rows)
    rows = []
    for name in names:
        teacher, student = logged.students[name]["costs"]
        keys = ("parameters", "macs_per_second", "real_time_factor")
        parameters, macs, time = (teacher[key] / student[key] for key in keys)
        facts = [f"{student['parameters']:,} (1 : {parameters:.1f})"]
        facts += [f"{student['macs_per_second'] / 1e6:.1f} (1 : {macs:.1f})", f"{time:.1f} times as fast"]
        rows.append([name, *facts])
    head = ["student", "encoder parameters (to the teacher's)", "million multiply-accumulates a second", "on a CPU"]
    return lines + table(head, rows)


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
