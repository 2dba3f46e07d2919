"""The section of RESULTS.md with the scores that the field's tables report, of every codec behind plain flips."""

from __future__ import annotations

from typing import NamedTuple

from callbacks.report.results.logged import Logged
from callbacks.report.results.markdown import Table, percent, rate, score
from callbacks.report.results.sections import coded_rate

WITH_INTERVALS = ("wer_original",)


class Field(NamedTuple):
    """What the means are over, a note on it, and tables with their titles."""

    over: str
    note: str
    tables: list[tuple[str, Table]]


def field_scores(logged: Logged) -> Field | None:
    """The word error rate behind every channel with its interval, and all metrics behind each; None without the run."""
    field = logged.field
    if field is None:
        return None
    first = next(iter(field.systems.values()))
    rows = {name: field.rows(name) for name in field.systems}
    tables = []
    for metric in first.metrics:
        if metric.name in WITH_INTERVALS:
            body = [
                [name, *(score(found.get((c.name, metric.name))) for c in field.channels)]
                for name, found in rows.items()
            ]
            head = [metric.label, *(f"{rate(c.error_rate)} flipped" for c in field.channels)]
            tables.append((f"{metric.label}, by the share of bits flipped, lower is better", Table(head, body)))
    for channel in field.channels:
        body = []
        for name, found in rows.items():
            row = next(iter(found.values()))
            scores = [score(found.get((channel.name, m.name)), interval=False) for m in first.metrics]
            body.append([name, f"{row.bit_rate / 1000:g}", coded_rate(row), *scores])
        head = ["codec", "kbit/s", "coded kbit/s", *(m.label_with_unit for m in first.metrics)]
        share = f"{percent(channel.error_rate)} of bits flipped" if channel.error_rate else "Without errors"
        tables.append((share, Table(head, body)))
    return Field(field.over, logged.field_note, tables)
