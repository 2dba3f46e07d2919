"""Results of a listening test: means and intervals of conditions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

from callbacks.figures.panels import panels, set_title
from callbacks.figures.quality import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimate(NamedTuple):
    """A value with its interval (NaN where there is none), the place it is drawn at, and the line of the legend."""

    place: str
    series: str
    value: float
    low: float
    high: float


def interval_figure(
    rows: Sequence[Estimate], *, title: str, label: str, limits: tuple[float, float], ticks: Sequence[float]
) -> Figure:
    """Values with intervals: a column for each place, a colour for each series.

    Args:
        rows: In the order of places and series.
        title: Above the panel.
        label: Of the vertical axis.
        limits: Of the vertical axis.
        ticks: Of the vertical axis, with lines across the panel.
    """
    places = list(dict.fromkeys(row.place for row in rows))
    series = list(dict.fromkeys(row.series for row in rows))
    lines = -(-len(series) // 3)
    margins = (0.7, 0.2, 0.55 + 0.22 * lines, 0.55)
    figure, axes = panels(1, 1, panel=(max(4.5, 1.1 * len(places)), 3.0), gaps=(0, 0), margins=margins)
    axis = axes[0]
    for number, name in enumerate(series):
        found = [row for row in rows if row.series == name]
        inside = {place: [row.series for row in rows if row.place == place] for place in places}
        x = [
            places.index(r.place) + 0.12 * (inside[r.place].index(name) - (len(inside[r.place]) - 1) / 2) for r in found
        ]
        colour, marker = COLOURS[number % len(COLOURS)], MARKERS[number % len(MARKERS)]
        axis.vlines(x, [row.low for row in found], [row.high for row in found], color=colour, linewidth=1.4)
        axis.plot(x, [row.value for row in found], marker, color=colour, markersize=5, label=name)
    axis.set_xticks(range(len(places)), [fill(place, 14) for place in places], fontsize=8)
    axis.set_xlim(-0.6, len(places) - 0.4)
    axis.set_ylim(*limits)
    axis.set_yticks(ticks)
    axis.grid(axis="y", alpha=0.3)
    axis.set_ylabel(label)
    figure.legend(*axis.get_legend_handles_labels(), loc="lower center", ncols=3, fontsize=8, frameon=False)
    set_title(figure, fill(title, 70))
    return figure
