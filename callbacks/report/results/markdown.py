"""Tables of text, and numbers with their intervals to the third decimal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from callbacks.report.results.evaluation import Gap
from callbacks.scoring.scores import ChannelRow


class Table(NamedTuple):
    """A table's head and rows, cells as text."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


def cells(row: Sequence[str]) -> str:
    """The cells of a Markdown table's line."""
    return " | ".join(cell.replace("|", "&#124;") for cell in row)


def text(table: Table) -> str:
    """A table's lines in Markdown."""
    return "\n".join(f"| {cells(row)} |" for row in (table.head, ["---"] * len(table.head), *table.rows))


def figure(value: float, *, sign: str = "") -> str:
    """Three decimals, with a true minus; a dash for no value."""
    return f"{value:{sign}.3f}".replace("-", "−") if math.isfinite(value) else "–"


def score(row: ChannelRow | None, *, interval: bool = True) -> str:
    """A mean, its interval, and how many draws count with the worst value; why there is none.

    "–": not measured, or no such channel; "†": withheld; "not comparable": draws without a score, and no worst value.
    """
    if row is None:
        return "–"
    if row.withheld:
        return "†"
    if not math.isfinite(row.mean):
        return f"not comparable [{row.unscorable} of {row.scored + row.unscorable} unscored]"
    imputed = f"{row.imputed} of {row.scored + row.unscorable} imputed" if row.imputed else ""
    silent = f"{row.silent} of {row.scored + row.unscorable} at the worst" if row.silent else ""
    bounds = f"{figure(row.low)}, {figure(row.high)}" if interval and math.isfinite(row.low) else ""
    further = ", ".join(part for part in (bounds, imputed, silent) if part)
    return figure(row.mean) + (f" [{further}]" if further else "")


def estimate(gap: Gap, *, sign: str = "") -> str:
    """A mean with its interval, and how many draws count with the worst value."""
    if not math.isfinite(gap.mean):
        return "–"
    imputed = f"{gap.of - gap.draws} of {gap.of} imputed" if gap.draws < gap.of else ""
    bounds = f"{figure(gap.low, sign=sign)}, {figure(gap.high, sign=sign)}" if math.isfinite(gap.low) else ""
    further = ", ".join(part for part in (bounds, imputed) if part)
    return figure(gap.mean, sign=sign) + (f" [{further}]" if further else "")


def change(gap: Gap) -> str:
    """A paired difference with its interval, and how many draws count with the worst value."""
    return estimate(gap, sign="+")


def percent(share: float) -> str:
    """A share as a percentage, to three digits; a dash for no value."""
    return f"{100 * share:.3g} %" if math.isfinite(share) else "–"


def rate(share: float) -> str:
    """A channel's error rate in a head: a percentage, or 0."""
    return percent(share) if share else "0"


def two_decimals(value: float) -> str:
    """Two decimals, with a true minus; a dash for no value."""
    return f"{value:.2f}".replace("-", "−") if math.isfinite(value) else "–"
