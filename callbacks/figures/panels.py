"""Grids of panels of fixed size, and figures as pixels; without pyplot, so without global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#1f5fa8"


def panels(
    rows: int,
    columns: int,
    *,
    panel: tuple[float, float],
    gaps: tuple[float, float],
    margins: tuple[float, float, float, float],
) -> tuple[Figure, list[Axes]]:
    """A grid of panels of fixed size.

    The size is fixed because Matplotlib's automatic layouts measure every label twice and take longer than the drawing.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        panel: Width and height of a panel, in inches.
        gaps: Horizontal and vertical distance of panels, in inches.
        margins: Left, right, bottom and top margin, in inches.

    Returns:
        The figure and its panels, row by row.
    """
    from matplotlib.figure import Figure

    left, right, bottom, top = margins
    width = left + columns * panel[0] + (columns - 1) * gaps[0] + right
    height = bottom + rows * panel[1] + (rows - 1) * gaps[1] + top
    figure = Figure(figsize=(width, height))
    axes = [
        figure.add_axes((
            (left + column * (panel[0] + gaps[0])) / width,
            (bottom + (rows - 1 - row) * (panel[1] + gaps[1])) / height,
            panel[0] / width,
            panel[1] / height,
        ))
        for row in range(rows)
        for column in range(columns)
    ]  # fmt: skip
    return figure, axes


def set_title(figure: Figure, title: str) -> None:
    """A title above all panels, at a fixed distance from the edge."""
    figure.suptitle(title, fontsize=10, y=1 - 0.12 / figure.get_figheight(), va="top")


def hide(axes: Sequence[Axes]) -> None:
    """Leave the places of panels without data empty."""
    for axis in axes:
        axis.set_visible(False)


def render(figure: Figure) -> np.ndarray:
    """The figure as uint8 pixels [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(130)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
