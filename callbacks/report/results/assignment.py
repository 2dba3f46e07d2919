"""Quantizers by index assignment: how much of FSQ's advantage over RVQ is the quantizer's, how much the codewords'."""

from __future__ import annotations

from typing import NamedTuple

from callbacks.report.results.evaluation import Evaluation, Gap
from callbacks.report.results.markdown import Table, change, estimate, percent

FSQ, RVQ = "FSQ natural", "RVQ natural"
FSQ_CONTROL, RVQ_CONTROL = "FSQ permuted in halves", "RVQ permuted"
FSQ_BEST, RVQ_BEST = "FSQ optimised", "RVQ optimised"
ASSIGNMENTS = {  # the systems of FSQ, RVQ and BSQ that have it
    "natural binary": (FSQ, RVQ, "BSQ natural"),
    "Gray": ("FSQ Gray", "RVQ Gray", None),
    "optimised (binary switching)": (FSQ_BEST, RVQ_BEST, None),
    "permuted, blocks of 8 bits": (FSQ_CONTROL, RVQ_CONTROL, "BSQ permuted in halves"),
    "permuted, whole codewords of 16 bits": ("FSQ permuted whole", None, "BSQ permuted whole"),
    "permuted, each dimension's 2 bits": ("FSQ permuted in dimensions", None, None),
}


class Assignment(NamedTuple):
    """Tables of the index assignment.

    Attributes:
        by_rate: for each bit error rate, assignments by quantizers, and their difference.
        parts: FSQ's advantage and its two parts, by bit error rate.
        lost: the same in what flips take away, so that unequal scores without errors do not count.
        seeds: how many permutations each permuted system has.
    """

    by_rate: list[tuple[str, Table]]
    parts: Table
    lost: Table
    seeds: str


class Parts(NamedTuple):
    """FSQ's advantage over RVQ behind a channel: in all, from the index assignment, and from the quantizer."""

    advantage: Gap
    assignment: Gap
    quantizer: Gap

    @property
    def share(self) -> float:
        """The share of the index assignment."""
        return self.assignment.mean / self.advantage.mean if self.advantage.mean else float("nan")


def parts(maps: Evaluation, channel: str, *, lost: bool = False) -> Parts:
    """The advantage of FSQ over RVQ with permuted codewords, which adds up from its two parts.

    FSQ natural − RVQ permuted = (FSQ natural − FSQ permuted in halves) + (FSQ permuted in halves − RVQ permuted): both
    permuted systems have random codewords of 8 bits. `lost` takes what the channel takes away instead of scores.
    """
    compare = maps.fragility if lost else maps.gap
    pairs = ((FSQ, RVQ_CONTROL), (FSQ, FSQ_CONTROL), (FSQ_CONTROL, RVQ_CONTROL))
    return Parts(*(compare(one, other, channel=channel, metric="stoi") for one, other in pairs))


def has_controls(maps: Evaluation) -> bool:
    """Whether both codecs are there with natural and with permuted codewords."""
    return all(maps.seeds(name) for name in (FSQ, RVQ, FSQ_CONTROL, RVQ_CONTROL))


def assignment(maps: Evaluation | None) -> Assignment | None:
    """The tables; None where a system is missing."""
    if maps is None or not has_controls(maps):
        return None
    settings = [c for c in maps.channels if c.curve == "bsc" and c.error_rate > 0]
    names = [name for systems in ASSIGNMENTS.values() for name in systems if name and len(maps.seeds(name)) > 1]
    return Assignment(
        [(percent(c.error_rate), _quantizers(maps, c.name)) for c in settings],
        _parts_table(maps, lost=False),
        _parts_table(maps, lost=True),
        ", ".join(f"{name} {len(maps.seeds(name))}" for name in names),
    )


def _quantizers(maps: Evaluation, channel: str) -> Table:
    three = any(bsq and maps.seeds(bsq) for _, _, bsq in ASSIGNMENTS.values())
    rows = []
    for label, (fsq, rvq, bsq) in ASSIGNMENTS.items():
        other = rvq or RVQ_CONTROL
        if not maps.seeds(fsq) or not maps.seeds(other):
            continue
        cells = [
            estimate(maps.level(name, channel=channel)) if name and maps.seeds(name) else "–"
            for name in (fsq, rvq, bsq)[: 2 + three]
        ]
        difference = change(maps.gap(fsq, other, channel=channel, metric="stoi"))
        rows.append([label, *cells, difference if rvq else f"{difference} (RVQ permuted)"])
    return Table(["index assignment, STOI", "FSQ", "RVQ", *["BSQ"] * three, "FSQ minus RVQ"], rows)


def _parts_table(maps: Evaluation, *, lost: bool) -> Table:
    settings = [c for c in maps.channels if c.curve == "bsc" and c.error_rate > 0]
    found = [parts(maps, c.name, lost=lost) for c in settings]
    compare = maps.fragility if lost else maps.gap
    natural = [change(compare(FSQ, RVQ, channel=c.name, metric="stoi")) for c in settings]
    recovered = []
    if maps.seeds(RVQ_BEST):
        best = [change(compare(FSQ, RVQ_BEST, channel=c.name, metric="stoi")) for c in settings]
        pairs = [(RVQ_BEST, RVQ), (FSQ, RVQ)]
        gaps = [[compare(*pair, channel=c.name, metric="stoi").mean for c in settings] for pair in pairs]
        recovered = [
            ["both at their best: FSQ natural minus RVQ optimised", *best],
            ["what RVQ's optimised assignment recovers of the first line",
             *(percent(part / whole) if whole else "–" for part, whole in zip(*gaps, strict=True))],
        ]  # fmt: skip
    rows = [
        ["FSQ natural minus RVQ natural", *natural],
        ["FSQ natural minus RVQ permuted", *(change(p.advantage) for p in found)],
        [
            "— from the index assignment: FSQ natural minus FSQ permuted in halves",
            *(change(p.assignment) for p in found),
        ],
        ["— from the quantizer: FSQ permuted in halves minus RVQ permuted", *(change(p.quantizer) for p in found)],
        ["share of the index assignment by this control", *(percent(p.share) for p in found)],
        *recovered,
    ]
    title = "change of STOI by flips" if lost else "STOI"
    return Table([f"{title}, paired", *(percent(c.error_rate) for c in settings)], rows)
