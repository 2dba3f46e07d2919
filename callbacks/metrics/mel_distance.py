"""The distance between two log-mel spectrograms in dB."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from callbacks.metrics.base import SpeechMetric
from callbacks.metrics.checks import require


class MelDistance(SpeechMetric):
    """Mean absolute difference in dB between the log-mel magnitude spectrograms of both signals; 0 is best.

    Magnitudes of a full-scale sine are near 1; anything below `floor` counts as the floor, so that digital silence
    stays finite. The filters are HTK-mel triangles from 0 Hz to half the sample rate.

    Args:
        bands: Number of mel bands.
        window: Length of the Hann window in seconds, rounded to whole samples; the hop is a quarter of it.
        floor: Smallest magnitude that is distinguished, full scale 1 (1e-4 is -80 dB).

    Raises:
        InvalidValue: An argument is not positive.
    """

    name = "mel"
    label = "mel distance"
    unit = "dB"
    higher_is_better = False
    scores_silence = True

    def __init__(self, bands: int = 80, *, window: float = 0.032, floor: float = 1e-4) -> None:
        for name, value in (("bands", bands), ("window", window), ("floor", floor)):
            require(value > 0, name, value, "must be positive")
        self.bands = bands
        self.window = window
        self.floor = floor

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        size = max(8, round(self.window * sample_rate))
        levels = [self._levels(signal, size, sample_rate) for signal in (reference, degraded)]
        return float(np.mean(np.abs(levels[0] - levels[1])))

    def _levels(self, signal: np.ndarray, size: int, sample_rate: int) -> np.ndarray:
        from scipy.fft import rfft

        padded = np.pad(signal.astype(np.float32), size // 2, mode="constant")
        frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 4]  # [F, size]
        window, filters = _analysis(size, self.bands, sample_rate)
        mel = np.abs(rfft(frames * window, axis=1)) @ filters  # [F, bands]
        return 20 * np.log10(np.maximum(mel, self.floor))


@lru_cache(maxsize=8)
def _analysis(size: int, bands: int, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
    """Hann window [size], scaled so that a full-scale sine has magnitude 1, and mel filters [bins, bands]."""
    window = np.hanning(size + 1)[:-1]
    hertz = np.arange(size // 2 + 1) * sample_rate / size
    top = 2595 * np.log10(1 + sample_rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    # A band narrower than a bin would be empty: widen it to one bin on each side of its centre.
    bin_width = sample_rate / size
    low = np.minimum(edges[:-2], edges[1:-1] - bin_width)
    high = np.maximum(edges[2:], edges[1:-1] + bin_width)
    rising = (hertz[:, None] - low) / (edges[1:-1] - low)
    falling = (high - hertz[:, None]) / (high - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0, None)
    return (2 * window / window.sum()).astype(np.float32), filters.astype(np.float32)
