"""Matplotlib figures without pyplot, so without global state: grids of panels, spectrograms and levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE = "#1f5fa8"
DECIBEL_RANGE = 80.0  # shown below the reference's peak


def panels(
    rows: int,
    columns: int,
    *,
    panel: tuple[float, float],
    gaps: tuple[float, float],
    margins: tuple[float, float, float, float],
) -> tuple[Figure, list[Axes]]:
    """A grid of panels with fixed sizes in inches: (width, height), gaps alike, margins (left, right, bottom, top).

    Fixed, because Matplotlib's automatic layouts measure every label twice and take longer than the drawing.
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


def spectrogram_figure(signals: Mapping[str, np.ndarray], *, sample_rate: int, title: str) -> Figure:
    """Stacked spectrograms on one time, frequency and level scale.

    Args:
        signals: Title of each panel to its signal [T]; the first is the reference and sets 0 dB.
        sample_rate: Rate of all signals in Hz.
        title: Above all panels.
    """
    margins = (0.7, 1.3, 0.55, 0.65)
    figure, axes = panels(len(signals), 1, panel=(6.5, 1.15), gaps=(0.0, 0.3), margins=margins)
    size = max(16, round(0.032 * sample_rate))
    levels = [_levels(signal, size) for signal in signals.values()]
    top = float(levels[0].max())
    image = None
    for axis, name, level, signal in zip(axes, signals, levels, signals.values(), strict=True):
        extent = (0.0, len(signal) / sample_rate, 0.0, sample_rate / 2000)
        image = axis.imshow(
            level - top, origin="lower", aspect="auto", extent=extent, vmin=-DECIBEL_RANGE, vmax=0, cmap="magma"
        )
        axis.set_title(name, fontsize=9, loc="left", pad=3)
        axis.tick_params(labelbottom=axis is axes[-1])
    figure.text(0.16 / figure.get_figwidth(), 0.5, "frequency (kHz)", rotation=90, va="center", fontsize=10)
    axes[-1].set_xlabel("time (s)")
    figure.suptitle(title, fontsize=10, y=1 - 0.12 / figure.get_figheight(), va="top")
    assert image is not None
    bottom, top = axes[-1].get_position().y0, axes[0].get_position().y1
    bar = figure.add_axes((1 - 1.1 / figure.get_figwidth(), bottom, 0.15 / figure.get_figwidth(), top - bottom))
    figure.colorbar(image, cax=bar, label="level relative to the original's peak (dB)")
    return figure


def _levels(signal: np.ndarray, size: int) -> np.ndarray:
    """Short-time levels in dB [bins, frames]: Hann window of `size`, a quarter of it as hop."""
    padded = np.pad(signal.astype(np.float64), size // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(size), axis=1)).T
    return 20 * np.log10(np.maximum(spectrum, 1e-6))


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
    for axis in axes[len(shares) :]:
        axis.set_visible(False)
    figure.text(0.5, 0.12 / figure.get_figheight(), "level", ha="center", fontsize=10)
    figure.text(0.16 / figure.get_figwidth(), 0.5, "share of codes (%)", rotation=90, va="center", fontsize=10)
    figure.suptitle(f"{title} (dashed: uniform)", fontsize=10, y=1 - 0.12 / figure.get_figheight(), va="top")
    return figure


def render(figure: Figure) -> np.ndarray:
    """The figure as uint8 pixels [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(130)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
