"""Spectrograms of one clip, one above the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from callbacks.figures.panels import panels, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECIBEL_RANGE = 80.0  # shown below the reference's peak


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
    set_title(figure, title)
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
