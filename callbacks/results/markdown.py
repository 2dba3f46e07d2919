"""Markdown tables, and numbers with their intervals to the third decimal."""

from __future__ import annotations

from collections.abc import Sequence

from callbacks.channel_scores import ChannelRow
from callbacks.results.logged import Gap


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A Markdown table, followed by an empty line."""
    return [_line(head), _line(["---"] * len(head)), *map(_line, rows), ""]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def figure(value: float, *, sign: str = "") -> str:
    """Three decimals, with a true minus."""
    return f"{value:{sign}.3f}".replace("-", "−")


def score(row: ChannelRow | None) -> str:
    """A mean with its interval, and how many draws are missing from it."""
    if row is None or not row.scored:
        return "–"
    missing = f", {row.unscorable} of {row.scored + row.unscorable} unscored" if row.unscorable else ""
    return f"{figure(row.mean)} [{figure(row.low)}, {figure(row.high)}{missing}]"


def change(gap: Gap) -> str:
    """A paired difference with its interval."""
    return f"{figure(gap.mean, sign='+')} [{figure(gap.low, sign='+')}, {figure(gap.high, sign='+')}]"


def percent(share: float) -> str:
    """A share as a percentage, to three digits."""
    return f"{100 * share:.3g} %"
