"""How often a scalar quantizer uses each of its levels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from callbacks.figures.panels import BLUE, hide, panels, set_title

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
