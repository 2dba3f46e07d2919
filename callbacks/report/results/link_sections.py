"""The section of RESULTS.md on FSQ and RVQ behind channels, with controls and error correction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from callbacks.report.results.logged import Evaluation
from callbacks.report.results.markdown import change, percent, score, table
from callbacks.report.results.sections import LABELS
from callbacks.report.systems import Setting
from callbacks.scoring.differences import baseline_of, same_rate
from callbacks.scoring.scores import ChannelRow

Rows = dict[tuple[str, str], ChannelRow]
KINDS = {"bsc": "flipped bits", "gilbert": "bursts of flipped bits (Gilbert–Elliott)", "frame": "lost frames"}


def channels(links: Evaluation) -> list[str]:
    """Every system behind every kind of channel, and its distance from the first system of its rate."""
    lines = ["## 2 FSQ against RVQ on the channel", ""]
    lines += [
        "Equal data, recipe, backbone, decoder and bits per frame; the same draws for all of one rate. *Permuted*: "
        "code words renamed at random. *Switched*: RVQ's words chosen after training by binary switching. Codes with "
        "error correction send twice the bits and are compared with each other.",
        "",
    ]
    for kind in dict.fromkeys(c.curve for c in links.channels if c.error_rate > 0):
        lines += _kind(links, kind)
    return lines + words(links)


def words(links: Evaluation) -> list[str]:
    """How much of FSQ's advantage behind flips lies in the words of its codes, by both controls."""
    names = ("FSQ natural", "RVQ natural", "RVQ switched", "FSQ permuted")
    settings = [c for c in links.channels if c.curve == "bsc" and c.error_rate > 0]
    if not set(names) <= set(links.systems) or not settings:
        return []
    fsq, rvq, switched, permuted = names
    pairs = [(rvq, fsq), (switched, fsq), (permuted, rvq)]
    gaps = {p: [links.fragility(*p, channel=c.name, metric="stoi") for c in settings] for p in pairs}
    found = zip(gaps[switched, fsq], gaps[rvq, fsq], strict=True)
    shares = [1 - stays.mean / whole.mean if whole.mean else math.nan for stays, whole in found]
    rows = [[f"{one}'s change minus {other}'s", *map(change, row)] for (one, other), row in gaps.items()]
    rows.append(["share of the first line that choosing RVQ's words takes back", *map(percent, shares)])
    return [
        "### The quantizer's advantage, or its words'?",
        "",
        "What flips change in one system's STOI minus what they change in another's, paired. Were the advantage of FSQ "
        "its codebook's own, choosing RVQ's words would take little of it back, and FSQ with permuted words would "
        "still be ahead of RVQ.",
        "",
        *table(["STOI, paired", *(percent(c.error_rate) for c in settings)], rows),
    ]


def _kind(links: Evaluation, kind: str) -> list[str]:
    """Scores and differences behind one kind of channel."""
    clean = links.clean
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
    clean = links.clean.name
    rates = {name: links.systems[name].bit_rates[clean] for name in names}
    return [
        (name, base)
        for name in names
        if (base := baseline_of(name, rates)) != name and same_rate(rates[name], rates[base])
    ]
