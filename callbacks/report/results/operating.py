"""The section of RESULTS.md with the operating curve: the best system for a channel, a rate and a delay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from callbacks.report.results.evaluation import Gap
from callbacks.report.results.markdown import Table, estimate
from callbacks.report.results.sections import LABELS


class Operating(NamedTuple):
    """The limit of the delay as text, empty where there is none, and a row for each channel and rate."""

    within: str
    table: Table


def operating(choices: Sequence[dict[str, str]] | None) -> Operating | None:
    """The best systems of a logged operating curve; None without one."""
    if not choices:
        return None
    limit = float(choices[0]["delay_limit_ms"])
    metric = LABELS.get(choices[0]["metric"], choices[0]["metric"])
    rows = []
    for row in choices:
        found = Gap(float(row["mean"]), float(row["low"]), float(row["high"]), draws=1, of=1)
        rows.append([
            row["channel"],
            f"{float(row['rate_limit']) / 1000:.3g}",
            row["best"],
            f"{float(row['bit_rate']) / 1000:.3g}",
            f"{float(row['delay_ms']):.0f}",
            estimate(found),
            row["as_good"] or "–",
        ])  # fmt: skip
    head = ["channel", "at most, kbit/s", "best", "kbit/s", "delay (ms)", metric, "not told apart from it"]
    return Operating(f"{limit:g} ms" if math.isfinite(limit) else "", Table(head, rows))
