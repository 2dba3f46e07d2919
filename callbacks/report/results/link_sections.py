"""Values for the section of RESULTS.md on FSQ and RVQ behind channels, with controls and error correction."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from callbacks.report.results.logged import Evaluation
from callbacks.report.results.markdown import Table, change, percent, score
from callbacks.report.results.sections import LABELS
from callbacks.report.systems import Setting
from callbacks.scoring.differences import baseline_of, same_rate
from callbacks.scoring.scores import ChannelRow

Rows = dict[tuple[str, str], ChannelRow]
KINDS = {"bsc": "flipped bits", "gilbert": "bursts of flipped bits (Gilbert–Elliott)", "frame": "lost frames"}


class Kind(NamedTuple):
    """Systems behind one kind of channel; `equal` names those left out, whose scores equal another system's."""

    title: str
    curve: str
    scores: list[Table]
    differences: Table
    equal: list[str]


class Links(NamedTuple):
    """Systems behind every kind of channel, and the effect of the index assignment where its controls were run."""

    kinds: list[Kind]
    assignment: Table | None


def links(evaluation: Evaluation | None) -> Links | None:
    """Every system behind every kind of channel, and its difference from the first system of its rate."""
    if evaluation is None:
        return None
    kinds = dict.fromkeys(c.curve for c in evaluation.channels if c.error_rate > 0)
    return Links([_kind(evaluation, kind) for kind in kinds], assignment(evaluation))


def assignment(links: Evaluation) -> Table | None:
    """How much of FSQ's advantage behind flips is due to its index assignment, by both controls."""
    names = ("FSQ natural", "RVQ natural", "RVQ switched", "FSQ permuted")
    settings = [c for c in links.channels if c.curve == "bsc" and c.error_rate > 0]
    if not set(names) <= set(links.systems) or not settings:
        return None
    fsq, rvq, switched, permuted = names
    pairs = [(rvq, fsq), (switched, fsq), (permuted, rvq)]
    gaps = {p: [links.fragility(*p, channel=c.name, metric="stoi") for c in settings] for p in pairs}
    found = zip(gaps[switched, fsq], gaps[rvq, fsq], strict=True)
    shares = [1 - left.mean / total.mean if total.mean else math.nan for left, total in found]
    rows = [[f"{one}'s change minus {other}'s", *map(change, row)] for (one, other), row in gaps.items()]
    rows.append(["share of the first line that RVQ's index assignment recovers", *map(percent, shares)])
    return Table(["STOI, paired", *(percent(c.error_rate) for c in settings)], rows)


def _kind(links: Evaluation, kind: str) -> Kind:
    """Scores and differences behind one kind of channel."""
    clean = links.clean
    settings = [c for c in links.channels if c.curve == kind and c.error_rate > 0]
    shown, equal = _distinct(links, settings)
    title = next((name for start, name in KINDS.items() if kind.startswith(start)), kind)
    scores = []
    for metric in ("stoi", "pesq_wb"):
        rows = [
            [name, f"{links.systems[name].bit_rates[clean.name] / 1000:.3g}",
             *(score(found.get((c.name, metric))) for c in (clean, *settings))]
            for name, found in shown.items()
        ]  # fmt: skip
        scores.append(Table([LABELS[metric], "kbit/s", "0", *(percent(c.error_rate) for c in settings)], rows))
    rows = [
        [f"{name} minus {base}", *(change(links.gap(name, base, channel=c.name, metric="stoi")) for c in settings)]
        for name, base in _baselines(links, list(shown))
    ]
    differences = Table(["STOI, paired", *(percent(c.error_rate) for c in settings)], rows)
    return Kind(f"{title[0].upper()}{title[1:]}", kind, scores, differences, equal)


def _distinct(links: Evaluation, settings: Sequence[Setting]) -> tuple[dict[str, Rows], list[str]]:
    """Rows by system, and the systems left out, whose scores equal an earlier one's.

    For example, the index assignment has no effect where whole frames are lost.
    """
    shown: dict[str, Rows] = {}
    equal, seen = [], set()
    for name in links.systems:
        rows = links.rows(name)
        means = tuple(rows[c.name, "stoi"].mean for c in settings)
        if means in seen:
            equal.append(name)
        else:
            seen.add(means)
            shown[name] = rows
    return shown, equal


def _baselines(links: Evaluation, names: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs (system, baseline) of each system that is not the first of its bit rate."""
    clean = links.clean.name
    rates = {name: links.systems[name].bit_rates[clean] for name in names}
    return [
        (name, base)
        for name in names
        if (base := baseline_of(name, rates)) != name and same_rate(rates[name], rates[base])
    ]
