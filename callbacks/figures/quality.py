"""Quality against the share of bits that a channel damages: a panel for each metric, a line for each codec."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from textwrap import fill, wrap
from typing import TYPE_CHECKING

import numpy as np

from callbacks.figures.panels import BLUE, hide, panels, set_title
from callbacks.metrics import SpeechMetric
from callbacks.scoring.scores import ChannelRow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST = 1e-6  # lower error rates are drawn at 0
MARKERS = "osD^vPX*"
COLOURS = [BLUE, *(f"C{number}" for number in range(1, 10)), "#000000"]  # 11 colours and 8 markers: 88 pairs


def quality_figure(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric], *, title: str) -> Figure:
    """Mean over clips against the expected share of bits wrong or lost, intervals as bands.

    The axis is logarithmic; 0 has its own place at the left end.
    """
    columns = 2 if len(metrics) == 4 else min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    labels = list(dict.fromkeys(_label(row, rows) for row in rows))
    legend = 0.22 * -(-len(labels) // columns) + 0.1 if len(labels) > 1 else 0.0
    found = [[row for row in rows if row.metric == metric.name] for metric in metrics]
    notes = [_notes(part, metric) for part, metric in zip(found, metrics, strict=True)]
    above = 0.13 * (max(len(note) for note in notes) - 1)  # inches
    margins = (0.75, 0.2, 0.6 + legend, 0.75 + above)
    figure, axes = panels(lines, columns, panel=(3.3, 2.2), gaps=(0.85, 0.85 + above), margins=margins)
    for axis, metric, part, note in zip(axes, metrics, found, notes, strict=False):
        _quality_panel(axis, part, metric, rows)
        axis.set_title("\n".join(note), fontsize=8, color="#555555")
    hide(axes[len(metrics) :])
    if len(labels) > 1:
        handles = axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="lower center", ncols=columns, fontsize=8, frameon=False)
    set_title(figure, fill(title, 55 * columns))
    return figure


def _label(row: ChannelRow, rows: Sequence[ChannelRow]) -> str:
    """What distinguishes a row's line from the others: its codec, its kind of channel, or both."""
    several_codecs = len({other.codec for other in rows}) > 1
    several_curves = len({other.curve for other in rows}) > 1
    return ", ".join([row.codec] * several_codecs + [row.curve] * (several_curves or not several_codecs))


def _quality_panel(
    axis: Axes, rows: Sequence[ChannelRow], metric: SpeechMetric, all_rows: Sequence[ChannelRow]
) -> None:
    place = logarithmic([row.bit_error_rate for row in all_rows])
    shade = 0.18 if len({_label(row, all_rows) for row in rows}) <= 4 else 0.07  # the bands of many lines overlap
    for number, label in enumerate(dict.fromkeys(_label(row, all_rows) for row in rows)):
        found = [row for row in rows if _label(row, all_rows) == label]
        found.sort(key=lambda row: row.bit_error_rate)
        x = [place(row.bit_error_rate) for row in found]
        colour = COLOURS[number % len(COLOURS)]
        marker = MARKERS[number % len(MARKERS)]
        axis.fill_between(x, [r.low for r in found], [r.high for r in found], color=colour, alpha=shade, linewidth=0)
        axis.plot(x, [r.mean for r in found], f"{marker}-", color=colour, markersize=4, linewidth=1.2, label=label)
        for where, row in zip(x, found, strict=True):
            if row.unscorable:
                # Along the top edge, where no curve crosses it, one row of text for each line.
                axis.text(
                    where, 0.97 - 0.07 * number, f"{row.unscorable}/{row.unscorable + row.scored}",
                    transform=axis.get_xaxis_transform(), ha="center", va="top", fontsize=7, color="#a02020",
                )  # fmt: skip
    _label_axes(axis, metric, place, all_rows)


def _notes(rows: Sequence[ChannelRow], metric: SpeechMetric) -> list[str]:
    """Lines above a panel: which values are good, how draws without a score count, why curves end."""
    notes = [metric.direction]
    if any(row.unscorable for row in rows):
        counted = "no mean" if metric.worst is None else f"counted as {metric.worst:g}"
        notes.append(f"red: draws without a score, {counted}")
    reasons = dict.fromkeys(row.withheld for row in rows if row.withheld)
    return notes + [line for reason in reasons for line in wrap(f"curves end: {reason}", 58)]


def _label_axes(
    axis: Axes, metric: SpeechMetric, place: Callable[[float], float], all_rows: Sequence[ChannelRow]
) -> None:
    rates = sorted({row.bit_error_rate if row.bit_error_rate >= LEAST else 0.0 for row in all_rows})
    if len(rates) > 9:  # only round numbers, and as many as fit
        low, high = min(rate for rate in rates if rate > 0), max(rates)
        round_rates = [m * 10.0**e for e in range(-6, 1) for m in (1, 2, 5)]
        rates = [0.0] * (rates[0] == 0) + [rate for rate in round_rates if 0.7 * low <= rate <= 1.3 * high]
        rates = rates if len(rates) <= 10 else [r for r in rates if r == 0 or f"{r:e}"[0] == "1"]
    axis.set_xticks([place(rate) for rate in rates], [f"{100 * rate:.3g}" for rate in rates])
    axis.set_xlabel("bits wrong or lost on the channel (%)")
    axis.set_ylabel(metric.label_with_unit)
    places = [place(row.bit_error_rate) for row in all_rows]  # also of points without a mean
    margin = 0.06 * (max(places) - min(places)) or 0.5
    axis.set_xlim(min(places) - margin, max(places) + margin)
    axis.margins(y=0.15)
    axis.grid(alpha=0.3)


def logarithmic(rates: Sequence[float]) -> Callable[[float], float]:
    """A function from a rate to its place: the decimal logarithm; 0 is half a decade left of the lowest rate."""
    positive = [rate for rate in rates if rate >= LEAST]
    zero = float(np.log10(min(positive))) - 0.5 if positive else 0.0
    return lambda rate: float(np.log10(rate)) if rate >= LEAST else zero
