"""How often a scalar quantizer uses each of its levels; how loud a codec's output is at each level of its input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from callbacks.figures.panels import BLUE, hide, panels, set_title
from callbacks.figures.quality import COLOURS, MARKERS

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def level_figure(shares: Sequence[np.ndarray], *, title: str) -> Figure:
    """Share of each level in each dimension of a scalar quantizer, as bars.

    Args:
        shares: For each dimension, the share of each of its levels, adding up to 1.
        title: Above all panels.
    """
    columns = min(4, len(shares))
    lines = -(-len(shares) // columns)
    figure, axes = panels(lines, columns, panel=(2.0, 1.3), gaps=(0.35, 0.5), margins=(0.75, 0.2, 0.6, 0.8))
    highest = 105 * max(float(share.max()) for share in shares)
    for number, (axis, share) in enumerate(zip(axes, shares, strict=False)):
        axis.bar(range(len(share)), 100 * share, color=BLUE)
        axis.axhline(100 / len(share), color="#555555", linewidth=0.8, linestyle="--")
        axis.set_title(f"dimension {number}", fontsize=9)
        axis.set_ylim(0, highest)
        if len(share) <= 16:
            axis.set_xticks(range(len(share)))
    hide(axes[len(shares) :])
    figure.text(0.5, 0.12 / figure.get_figheight(), "level", ha="center", fontsize=10)
    figure.text(0.16 / figure.get_figwidth(), 0.5, "share of codes (%)", rotation=90, va="center", fontsize=10)
    set_title(figure, f"{title} (dashed: uniform)")
    return figure


class LevelPoint(Protocol):
    """A codec's output level over its input level, in dB, at one peak of the input."""

    @property
    def codec(self) -> str: ...
    @property
    def peak_dbfs(self) -> float: ...
    @property
    def mean(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...


def response_figure(rows: Sequence[LevelPoint], *, title: str) -> Figure:
    """Level of the output over that of the input against the input's peak: a line for each codec, with its interval."""
    figure, axes = panels(1, 1, panel=(5.0, 2.8), gaps=(0, 0), margins=(0.8, 0.2, 0.6, 0.6))
    axis = axes[0]
    names = list(dict.fromkeys(row.codec for row in rows))
    for number, name in enumerate(names):
        found = sorted((row for row in rows if row.codec == name), key=lambda row: row.peak_dbfs)
        x, colour = [row.peak_dbfs for row in found], COLOURS[number % len(COLOURS)]
        axis.fill_between(x, [r.low for r in found], [r.high for r in found], color=colour, alpha=0.15, linewidth=0)
        marker = f"{MARKERS[number % len(MARKERS)]}-"
        axis.plot(x, [r.mean for r in found], marker, color=colour, markersize=4, linewidth=1.2, label=name)
    axis.axhline(0, color="#555555", linewidth=0.8, linestyle="--")
    axis.set_xlabel("peak of the input (dBFS)")
    axis.set_ylabel("output over input (dB)")
    axis.grid(alpha=0.3)
    if len(names) > 1:
        axis.legend(fontsize=8, frameon=False)
    set_title(figure, title)
    return figure
