"""The tables of the listening page: scores, bit errors, differences and configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isnan
from typing import Any, NamedTuple

from callbacks.metrics import SpeechMetric
from callbacks.metrics.base import decimals
from callbacks.report.systems import System
from callbacks.scoring.differences import Difference
from callbacks.scoring.scores import ChannelRow

FACTS = {
    "run": "run", "stage": "stage", "step": "step", "bit_rate": "bits/s", "coded_bit_rate": "coded bits/s, each clip",
    "long_run_bit_rate": "coded bits/s, long run", "frame_rate": "frames/s",
    "bits_per_frame": "bits a frame", "codebook_sizes": "codebook sizes", "parameters": "parameters",
    "sample_rate": "input (Hz)", "output_sample_rate": "output (Hz)", "index_map": "index assignment",
    "concealment": "concealment", "error_correction": "error correction", "entropy_coding": "entropy coding",
    "repeats": "draws", "seed": "seed",
}  # fmt: skip


class Cell(NamedTuple):
    """A number in a table, its interval, and the number of missing draws; empty where there is none."""

    value: str = "–"
    interval: str = ""
    missing: str = ""


class Table(NamedTuple):
    """A table: each of `rows` is a head and the cells under `columns`; `notes` are below the table."""

    caption: str
    corner: str
    columns: list[str]
    rows: list[tuple[str, list[Cell]]]
    notes: list[str]


def score_table(rows: Sequence[ChannelRow], metric: SpeechMetric) -> Table:
    """The means of one metric, by system and channel."""
    found = [row for row in rows if row.metric == metric.name]
    counted = _counted(metric)
    notes = [
        f"{row.codec}, {short_label(row.channel)}: {row.unscorable} of {row.unscorable + row.scored} draws could not "
        f"be scored and {counted}: {', '.join(f'{why} ({count})' for why, count in sorted(row.reasons.items()))}."
        for row in found
        if row.unscorable
    ]
    caption = f"{metric.label_with_unit}, {metric.direction}"
    return _table(caption, found, lambda row: row.codec, _score, [*_withheld_notes(found), *notes])


def _counted(metric: SpeechMetric) -> str:
    """How draws without a score count in a mean."""
    return "leave no mean" if metric.worst is None else f"count as {number(metric.worst, metric.unit)}"


def _withheld_notes(rows: Sequence[ChannelRow] | Sequence[Difference]) -> list[str]:
    return [f"–: {reason}." for reason in dict.fromkeys(row.withheld for row in rows if row.withheld)]


def _score(row: ChannelRow) -> Cell:
    missing = f"{row.unscorable} unscored" if row.unscorable else ""
    return Cell(*_numbers(row.mean, row.low, row.high, row.unit, none="–" if row.withheld else "none"), missing)


def error_table(rows: Sequence[ChannelRow]) -> Table:
    """The measured bit error rates, the bit rates and delays, by system and channel."""
    delayed = any(row.delay_ms for row in rows)
    caption = f"Bits wrong or lost, {'rate on the channel, and delay' if delayed else 'and rate on the channel'}"
    first = list({(row.codec, row.channel): row for row in rows}.values())

    def cell(row: ChannelRow) -> Cell:
        delay = f", {row.delay_ms:.0f} ms" if delayed else ""
        return Cell(f"{100 * row.measured_bit_error_rate:.2f} %", f"{row.bit_rate / 1000:.3g} kbit/s{delay}")

    return _table(caption, first, lambda row: row.codec, cell, [])


def difference_table(rows: Sequence[Difference], metric: SpeechMetric) -> Table:
    """The differences of one metric, by pair of systems and channel."""
    found = [row for row in rows if row.metric == metric.name]
    notes = [
        f"{_pair(row)}, {short_label(row.channel)}: {row.unpaired} of {row.draws + row.unpaired} draws lack a score "
        f"and {_counted(metric)}."
        for row in found
        if row.unpaired
    ]

    def cell(row: Difference) -> Cell:
        missing = f"{row.unpaired} unpaired" if row.unpaired else ""
        none = "–" if row.withheld else "none"
        return Cell(*_numbers(row.difference, row.low, row.high, metric.unit, sign="+", none=none), missing)

    return _table(f"{metric.label_with_unit}, differences", found, _pair, cell, [*_withheld_notes(found), *notes])


def _pair(row: Difference) -> str:
    rates = "" if row.equal_rate else f" ({row.bit_rate / 1000:.3g} : {row.baseline_bit_rate / 1000:.3g} kbit/s)"
    return f"{row.codec} minus {row.baseline}{rates}"


def _table(
    caption: str, rows: Sequence[Any], head: Callable[[Any], str], cell: Callable[[Any], Cell], notes: list[str]
) -> Table:
    """A table of heads by channels, with the longer list as rows."""
    cells = {(head(row), short_label(row.channel)): cell(row) for row in rows}
    heads, channels = (list(dict.fromkeys(key[side] for key in cells)) for side in (0, 1))
    if len(heads) > len(channels):
        lines = [(name, [cells.get((name, channel), Cell()) for channel in channels]) for name in heads]
        return Table(caption, "system", channels, lines, notes)
    lines = [(channel, [cells.get((name, channel), Cell()) for name in heads]) for channel in channels]
    return Table(caption, "channel", heads, lines, notes)


def _numbers(mean: float, low: float, high: float, unit: str, *, sign: str = "", none: str = "none") -> tuple[str, str]:
    value = none if isnan(mean) else number(mean, unit, sign=sign)
    return value, "" if isnan(low) else f"[{number(low, unit, sign=sign)}, {number(high, unit, sign=sign)}]"


def number(value: float, unit: str, *, sign: str = "") -> str:
    """A value with the decimals of its unit and a true minus."""
    text = f"{value:{sign}.{decimals(unit)}f}"
    return text.replace("-", "−")


def fact_table(systems: Sequence[System]) -> Table:
    """The properties of every system."""
    lines = [(label, [Cell(_fact(system, key)) for system in systems]) for key, label in FACTS.items()]
    return Table("Systems", "", [system.name for system in systems], lines, [])


def _fact(system: System, key: str) -> str:
    value = system.run if key == "run" else system.facts.get(key, "–")
    if isinstance(value, list):
        return " × ".join(str(item) for item in value)
    return "none" if value is None else f"{value:,g}" if isinstance(value, float) else str(value)


def short_label(channel: str) -> str:
    """A channel's label on a button or in a table."""
    return channel_labels(channel)[0]


def channel_labels(channel: str) -> tuple[str, str]:
    """A channel's short label and the label for a screen reader: a binary symmetric channel's rate, another's name."""
    rate = re.fullmatch(r"bsc-([\d.e-]+)", channel)
    if not rate:
        return channel, channel
    percent = f"{100 * float(rate[1]):g} %"
    return (percent, f"{percent} of bits flipped") if float(rate[1]) else ("clean", "clean, no bit errors")
