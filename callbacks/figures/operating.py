"""Quality against the total rate on the channel, a panel for each channel, with the systems that none outdoes."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from callbacks.figures.panels import hide, panels, set_title
from callbacks.figures.quality import COLOURS, MARKERS
from callbacks.metrics import SpeechMetric
from callbacks.scoring.operating_points import OperatingPoint

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def operating_figure(points: Sequence[OperatingPoint], metric: SpeechMetric, *, title: str) -> Figure:
    """Mean with its interval against kbit/s; a line joins the efficient systems, those beyond the delay are hollow."""
    channels = list(dict.fromkeys(point.channel for point in points))
    systems = list(dict.fromkeys(point.system for point in points))
    columns = min(3, len(channels))
    lines = -(-len(channels) // columns)
    legend = 0.2 * -(-len(systems) // columns) + 0.15
    figure, axes = panels(lines, columns, panel=(3.2, 2.3), gaps=(0.7, 0.85), margins=(0.75, 0.2, 0.6 + legend, 0.8))
    for axis, channel in zip(axes, channels, strict=False):
        found = [point for point in points if point.channel == channel]
        front = sorted((p for p in found if p.efficient), key=lambda p: p.bit_rate)
        axis.plot(
            [p.bit_rate / 1000 for p in front], [p.mean for p in front], "-", color="#555555", linewidth=1, zorder=1
        )
        for point in found:
            number = systems.index(point.system)
            colour = COLOURS[number % len(COLOURS)]
            axis.errorbar(
                point.bit_rate / 1000,
                point.mean,
                yerr=[[point.mean - point.low], [point.high - point.mean]],
                fmt=MARKERS[number % len(MARKERS)],
                color=colour,
                markerfacecolor=colour if point.within_delay else "none",
                markersize=5,
                elinewidth=0.8,
                label=point.system,
            )
        axis.set_title(channel, fontsize=9)
        axis.set_xlabel("bits on the channel (kbit/s)")
        axis.set_ylabel(metric.label_with_unit)
        axis.grid(alpha=0.3)
    hide(axes[len(channels) :])
    handles = {label: handle for axis in axes for handle, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="lower center", ncols=columns, fontsize=8, frameon=False)
    set_title(figure, fill(title, 50 * columns))
    return figure
