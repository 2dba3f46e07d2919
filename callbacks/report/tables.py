"""The tables of the listening page: scores, bit errors, differences and configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isnan
from typing import Any, NamedTuple

from callbacks.metrics import SpeechMetric
from callbacks.report.systems import System
from callbacks.scoring.differences import Difference
from callbacks.scoring.scores import ChannelRow

FACTS = {
    "run": "run", "stage": "stage", "step": "step", "bit_rate": "bits/s", "frame_rate": "frames/s",
    "bits_per_frame": "bits a frame", "codebook_sizes": "codebook sizes", "parameters": "parameters",
    "sample_rate": "input (Hz)", "output_sample_rate": "output (Hz)", "index_map": "index map",
    "concealment": "concealment", "error_correction": "error correction", "repeats": "draws", "seed": "seed",
}  # fmt: skip


class Cell(NamedTuple):
    """A number in a table, its interval, and what is missing from it; empty where there is nothing to say."""

    value: str = "–"
    interval: str = ""
    missing: str = ""


class Table(NamedTuple):
    """A table: `rows` are a head and the cells under `columns`, `notes` stand below."""

    caption: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    notes: list[str]


def score_table(rows: Sequence[ChannelRow], metric: SpeechMetric) -> Table:
    found = [row for row in rows if row.metric == metric.name]
    notes = [
        f"{row.codec}, {spoken(row.channel)[0]}: {row.unscorable} of {row.unscorable + row.scored} draws could not be "
        f"scored and are missing: {', '.join(f'{why} ({count})' for why, count in sorted(row.reasons.items()))}."
        for row in found
        if row.unscorable
    ]
    caption = f"{_titled(metric)}, {'higher' if metric.higher_is_better else 'lower'} is better"
    return _table(caption, found, lambda row: row.codec, _score, notes)


def _score(row: ChannelRow) -> Cell:
    missing = f"{row.unscorable} unscored" if row.unscorable else ""
    return Cell(*_numbers(row.mean, row.low, row.high, row.unit), missing)


def error_table(rows: Sequence[ChannelRow]) -> Table:
    caption = "Bits wrong or lost, and rate on the channel"
    first = list({(row.codec, row.channel): row for row in rows}.values())
    return _table(
        caption,
        first,
        lambda row: row.codec,
        lambda row: Cell(f"{100 * row.measured_bit_error_rate:.2f} %", f"{row.bit_rate / 1000:.3g} kbit/s"),
        [],
    )


def difference_table(rows: Sequence[Difference], metric: SpeechMetric) -> Table:
    found = [row for row in rows if row.metric == metric.name]
    notes = [
        f"{_pair(row)}, {spoken(row.channel)[0]}: {row.unpaired} of {row.draws + row.unpaired} draws lack a score."
        for row in found
        if row.unpaired
    ]

    def cell(row: Difference) -> Cell:
        missing = f"{row.unpaired} unpaired" if row.unpaired else ""
        return Cell(*_numbers(row.difference, row.low, row.high, metric.unit, sign="+"), missing)

    return _table(f"{_titled(metric)}, differences", found, _pair, cell, notes)


def _titled(metric: SpeechMetric) -> str:
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def _pair(row: Difference) -> str:
    rates = "" if row.equal_rate else f" ({row.bit_rate / 1000:.3g} : {row.baseline_bit_rate / 1000:.3g} kbit/s)"
    return f"{row.codec} minus {row.baseline}{rates}"


def _table(
    caption: str, rows: Sequence[Any], head: Callable[[Any], str], cell: Callable[[Any], Cell], notes: list[str]
) -> Table:
    """Rows by `head` and channel; the longer of the two runs down the page."""
    cells = {(head(row), spoken(row.channel)[0]): cell(row) for row in rows}
    heads, channels = (list(dict.fromkeys(key[side] for key in cells)) for side in (0, 1))
    if len(heads) > len(channels):
        lines = [(name, [cells.get((name, channel), Cell()) for channel in channels]) for name in heads]
        return Table(caption, "system", channels, lines, notes)
    lines = [(channel, [cells.get((name, channel), Cell()) for name in heads]) for channel in channels]
    return Table(caption, "channel", heads, lines, notes)


def _numbers(mean: float, low: float, high: float, unit: str, *, sign: str = "") -> tuple[str, str]:
    value = "none" if isnan(mean) else number(mean, unit, sign=sign)
    return value, "" if isnan(low) else f"[{number(low, unit, sign=sign)}, {number(high, unit, sign=sign)}]"


def number(value: float, unit: str, *, sign: str = "") -> str:
    """One decimal for dB, two for other units, three for an index."""
    text = f"{value:{sign}.{1 if unit == 'dB' else 2 if unit else 3}f}"
    return text.replace("-", "−")


def fact_table(systems: Sequence[System]) -> Table:
    lines = [(label, [Cell(_fact(system, key)) for system in systems]) for key, label in FACTS.items()]
    return Table("Systems", "", [system.name for system in systems], lines, [])


def _fact(system: System, key: str) -> str:
    value = system.run if key == "run" else system.facts.get(key)
    if isinstance(value, list):
        return " × ".join(str(item) for item in value)
    return "none" if value is None else f"{value:,g}" if isinstance(value, float) else str(value)


def spoken(channel: str) -> tuple[str, str]:
    """A channel on a button and in words: a binary symmetric channel by its rate, any other by its name."""
    rate = re.fullmatch(r"bsc-([\d.e-]+)", channel)
    if not rate:
        return channel, channel
    percent = f"{100 * float(rate[1]):g} %"
    return (percent, f"{percent} of bits flipped") if float(rate[1]) else ("clean", "clean, no bit errors")
