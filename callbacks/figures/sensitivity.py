"""Figures of the analysis callbacks: the score lost with each bit, and how far in time an error spreads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from callbacks.figures.panels import BLUE, hide, panels, set_title
from callbacks.metrics import SpeechMetric
from callbacks.scoring.sensitivity import Sensitivity

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def loss_label(metric: SpeechMetric) -> str:
    """Name of a loss: "STOI lost", "mel distance gained (dB)", or "change of level difference (dB)" for neither."""
    named = {True: "{} lost", False: "{} gained", None: "change of {}"}[metric.higher_is_better]
    return named.format(metric.label) + (f" ({metric.unit})" if metric.unit else "")


def sensitivity_figure(rows: Sequence[Sensitivity], metrics: Sequence[SpeechMetric], *, title: str) -> Figure:
    """Loss of each bit and group of bits, with intervals: a panel for each metric, and one for the displacement."""
    count = len(metrics) + 1
    columns = min(2, count)
    parts = list(dict.fromkeys(row.part for row in rows))
    width = max(4.0, 0.2 * len(parts))
    figure, axes = panels(
        -(-count // columns), columns, panel=(width, 1.9), gaps=(0.85, 1.5), margins=(0.8, 0.2, 1.5, 0.6)
    )
    places = np.arange(len(parts))
    colours = [BLUE if part.startswith("bit ") else "#c46a1b" for part in parts]
    for axis, metric in zip(axes, metrics, strict=False):
        found = {row.part: row for row in rows if row.metric == metric.name}
        loss = np.array([found[part].loss for part in parts])
        low, high = (np.array([getattr(found[part], bound) for part in parts]) for bound in ("low", "high"))
        errors = np.nan_to_num(np.clip(np.stack([loss - low, high - loss]), 0, None))
        axis.bar(places, loss, color=colours, yerr=errors, error_kw={"elinewidth": 0.8, "ecolor": "#333333"})
        axis.set_ylabel(loss_label(metric))
    first = {row.part: row.displacement for row in rows}
    axes[len(metrics)].bar(places, [first[part] for part in parts], color=colours)
    axes[len(metrics)].set_ylabel("displacement per flip\n(latent variances)")
    for axis in axes[:count]:
        axis.set_xticks(places, parts, rotation=90, fontsize=7)
        axis.grid(alpha=0.3, axis="y")
        axis.margins(x=0.01)
    hide(axes[count:])
    set_title(figure, title)
    return figure


def spread_figure(milliseconds: np.ndarray, decibels: np.ndarray, *, title: str) -> Figure:
    """Energy of an error over time, relative to its total energy: both arguments [N]."""
    figure, axes = panels(1, 1, panel=(6.0, 2.6), gaps=(0, 0), margins=(0.8, 0.2, 0.6, 0.6))
    axes[0].plot(milliseconds, decibels, color=BLUE, linewidth=1.2)
    axes[0].axvline(0, color="#555555", linewidth=0.8, linestyle="--")
    axes[0].set_xlabel("time from the middle of the damaged frame (ms)")
    axes[0].set_ylabel("share of the error's energy\nper hop (dB)")
    axes[0].grid(alpha=0.3)
    set_title(figure, title)
    return figure
