"""The course of training: losses, gradient norms and learning rates by batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from callbacks.figures.panels import BLUE, hide, panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Panel(NamedTuple):
    """One panel: name and scale of its vertical axis, the logged values in it by label, and whether they are noisy."""

    title: str
    scale: str
    values: dict[str, str]
    noisy: bool = True


PANELS = (
    Panel("mel loss (log10 units, sum of scales)", "linear", {"training": "train/mel", "validation": "val/mel"}),
    Panel("adversarial losses", "linear", {"codec": "train/adversarial", "discriminators": "train/discriminator"}),
    Panel("feature matching loss", "linear", {"codec": "train/feature_matching"}),
    Panel("quantizer loss", "linear", {"codec": "train/quantizer"}),
    Panel("gradient norm before clipping", "log", {
        "codec": "gradient_norm/generator", "discriminators": "gradient_norm/discriminator",
    }),
    Panel("learning rate", "linear", {
        "codec": "learning_rate/generator", "discriminators": "learning_rate/discriminator",
    }, noisy=False),
)  # fmt: skip


def training_figure(history: dict[str, list[tuple[int, float]]]) -> Figure:
    """A panel for each group of values that are not all zero, by batch.

    `history` has the points (batch, value) of each logged name; noisy values are drawn thin, their running means thick.
    """
    shown = [p for p in PANELS if any(y for name in p.values.values() for _, y in history.get(name, []))]
    columns = min(3, len(shown)) or 1
    lines = -(-len(shown) // columns) or 1
    figure, axes = panels(lines, columns, panel=(3.3, 2.2), gaps=(0.85, 0.7), margins=(0.75, 0.2, 0.6, 0.3))
    for axis, panel in zip(axes, shown, strict=False):
        for colour, (label, name) in zip((BLUE, "C1"), panel.values.items(), strict=False):
            _curve(axis, history.get(name, []), label, colour=colour, noisy=panel.noisy)
        axis.set_xlabel("batch")
        axis.set_ylabel(panel.title, fontsize=9)
        axis.set_yscale(panel.scale)
        if panel.scale == "linear":
            axis.ticklabel_format(axis="y", scilimits=(-2, 4))
        axis.grid(alpha=0.3)
        if len(panel.values) > 1:
            axis.legend(fontsize=8)
    hide(axes[len(shown) :])
    return figure


def _curve(axis: Axes, points: list[tuple[int, float]], label: str, *, colour: str, noisy: bool) -> None:
    found = np.array([p for p in points if np.isfinite(p[1])])
    if not len(found):
        return
    batches, values = found.T
    if len(values) < 20 or not noisy:
        axis.plot(batches, values, "o-" if len(values) < 20 else "-", color=colour, markersize=3, label=label)
        return
    width = max(3, len(values) // 30)
    sums = np.cumsum(np.insert(values, 0, 0.0))
    starts = np.maximum(np.arange(len(values)) - width + 1, 0)
    means = (sums[1:] - sums[starts]) / (np.arange(len(values)) - starts + 1)
    axis.plot(batches, values, color=colour, linewidth=0.6, alpha=0.35)
    axis.plot(batches, means, color=colour, linewidth=1.8, label=label)
