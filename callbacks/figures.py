"""Matplotlib figures without pyplot, so without global state: quality against bit error rate, and spectrograms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from callbacks.channel_scores import ChannelRow
from callbacks.metrics import SpeechMetric

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


def quality_figure(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric], *, title: str) -> Figure:
    """One panel per metric: mean over clips against channel settings, intervals as a band, one line per family.

    The settings are evenly spaced and labelled, because a logarithmic axis has no place for a rate of 0.
    """
    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    figure, axes = panels(lines, columns, panel=(3.3, 2.2), gaps=(0.85, 0.85), margins=(0.75, 0.2, 0.6, 0.75))
    for axis, metric in zip(axes, metrics, strict=False):
        _quality_panel(axis, [row for row in rows if row.metric == metric.name], metric)
    for axis in axes[len(metrics) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=10, y=1 - 0.12 / figure.get_figheight(), va="top")
    return figure


def _quality_panel(axis: Axes, rows: Sequence[ChannelRow], metric: SpeechMetric) -> None:
    families = list(dict.fromkeys(row.family for row in rows))
    ticks = list(dict.fromkeys(row.bit_error_rate for row in rows))
    ticks.sort()
    for number, family in enumerate(families):
        found = sorted((row for row in rows if row.family == family), key=lambda row: row.bit_error_rate)
        places = [ticks.index(row.bit_error_rate) for row in found]
        colour = BLUE if number == 0 else f"C{number}"
        axis.fill_between(
            places, [row.low for row in found], [row.high for row in found], color=colour, alpha=0.25, linewidth=0
        )
        axis.plot(places, [row.mean for row in found], "o-", color=colour, markersize=4, label=family)
        for place, row in zip(places, found, strict=True):
            if row.unscorable:
                # Beside the mean it belongs to, where no curve crosses it: along the top edge, a line per family.
                axis.text(
                    place, 0.97 - 0.07 * number, f"{row.unscorable}/{row.unscorable + row.scored}",
                    transform=axis.get_xaxis_transform(), ha="center", va="top", fontsize=7, color="#a02020",
                )  # fmt: skip
    axis.set_xticks(range(len(ticks)), [f"{100 * tick:g}" for tick in ticks])
    axis.set_xlabel("bit error rate of the channel (%)")
    axis.set_ylabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
    note = "higher is better" if metric.higher_is_better else "lower is better"
    unscorable = any(row.unscorable for row in rows)
    axis.set_title(note + ("; red: unscorable draws" if unscorable else ""), fontsize=8, color="#555555")
    axis.set_xlim(-0.5, len(ticks) - 0.5)
    axis.margins(y=0.15)
    axis.grid(alpha=0.3)
    if len(families) > 1:
        axis.legend(fontsize=7)


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
