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

BLUE, BAND = "#1f5fa8", "#9dbfe3"
DECIBEL_RANGE = 80.0  # shown below the reference's peak


def quality_figure(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric], *, title: str) -> Figure:
    """One panel per metric: mean over clips against channel settings, intervals as a band, one line per family.

    The settings are evenly spaced and labelled, because a logarithmic axis has no place for a rate of 0.
    """
    from matplotlib.figure import Figure

    columns = min(3, len(metrics))
    lines = -(-len(metrics) // columns)
    figure = Figure(figsize=(4.2 * columns, 0.6 + 3.1 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis, metric in zip(axes, metrics, strict=False):
        _quality_panel(axis, [row for row in rows if row.metric == metric.name], metric)
    for axis in axes[len(metrics) :]:
        axis.set_visible(False)
    figure.suptitle(title, fontsize=11)
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
                axis.annotate(
                    f"{row.unscorable}/{row.unscorable + row.scored}\nunscorable",
                    (place, row.mean if np.isfinite(row.mean) else 0.5 * sum(axis.get_ylim())),
                    textcoords="offset points",
                    xytext=(0, 7),
                    ha="center",
                    fontsize=6,
                    color="#a02020",
                )
    axis.set_xticks(range(len(ticks)), [f"{100 * tick:g}" for tick in ticks])
    axis.set_xlabel("bit error rate of the channel (%)")
    axis.set_ylabel(f"{metric.label} ({metric.unit})" if metric.unit else metric.label)
    axis.set_title("higher is better" if metric.higher_is_better else "lower is better", fontsize=8, color="#555555")
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
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 0.9 + 1.45 * len(signals)), layout="constrained")
    axes = figure.subplots(len(signals), 1, squeeze=False, sharex=True, sharey=True)[:, 0]
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
    figure.supylabel("frequency (kHz)", fontsize=10)
    axes[-1].set_xlabel("time (s)")
    figure.suptitle(title, fontsize=10)
    assert image is not None
    figure.colorbar(image, ax=list(axes), label="level below the original's peak (dB)", shrink=0.9)
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
    from matplotlib.figure import Figure

    columns = min(4, len(shares))
    lines = -(-len(shares) // columns)
    figure = Figure(figsize=(2.6 * columns, 0.7 + 1.9 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    for number, (axis, share) in enumerate(zip(axes, shares, strict=False)):
        axis.bar(range(len(share)), 100 * share, color=BLUE)
        axis.axhline(100 / len(share), color="#555555", linewidth=0.8, linestyle="--")
        axis.set_title(f"dimension {number}", fontsize=9)
        if len(share) <= 16:
            axis.set_xticks(range(len(share)))
    for axis in axes[len(shares) :]:
        axis.set_visible(False)
    figure.supxlabel("level", fontsize=10)
    figure.supylabel("share of codes (%)", fontsize=10)
    figure.suptitle(f"{title} (dashed: uniform)", fontsize=10)
    return figure


def render(figure: Figure) -> np.ndarray:
    """The figure as uint8 pixels [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(130)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
