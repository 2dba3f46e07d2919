"""Intrusive speech metrics on NumPy signals: PESQ (ITU-T P.862), STOI, ESTOI, SI-SDR and a log-mel distance.

Free of PyTorch, so that a scoring worker starts quickly. A metric never returns a stand-in value: what cannot be
computed raises `Unscorable`, and the caller counts it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from math import gcd, isfinite
from typing import Literal

import numpy as np

SILENCE = 1e-6  # peak-to-peak, full scale 1: far below one step of 16-bit PCM (3e-5)


class Unscorable(Exception):
    """A metric has no value for this pair of signals; the message is the reason, short and free of numbers."""

    @property
    def reason(self) -> str:
        """The reason, the same text for every pair that fails in the same way, so that reasons can be counted."""
        return str(self.args[0])


class SpeechMetric(ABC):
    """One number for a degraded signal beside its reference; subclasses implement `score`.

    Attributes:
        name: Identifier for files and loggers, unique among the metrics of one evaluation.
        label: The metric's name as printed in tables and on axes.
        unit: Unit of the value; empty for a dimensionless index.
        higher_is_better: Whether a larger value means better speech.
    """

    name: str
    label: str
    unit: str = ""
    higher_is_better: bool = True

    def __call__(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        """Score one pair.

        Args:
            reference: Clean signal [T], any float type, full scale 1.
            degraded: Signal to score [T], aligned with the reference.
            sample_rate: Rate of both signals in Hz.

        Returns:
            The finite value, in `unit`.

        Raises:
            ValueError: Either signal is not one-dimensional, or their lengths differ.
            Unscorable: A signal is empty, silent or not finite, or the metric has no value for it.
        """
        if reference.ndim != 1 or reference.shape != degraded.shape:
            raise ValueError(
                f"reference {reference.shape} and degraded {degraded.shape} must both be [T] with the same T; "
                "trim or decode to the reference's length"
            )
        for role, signal in (("reference", reference), ("degraded signal", degraded)):
            if signal.size == 0:
                raise Unscorable(f"{role} is empty")
            if not np.isfinite(signal).all():
                raise Unscorable(f"{role} is not finite")
            if np.ptp(signal) < SILENCE:
                raise Unscorable(f"{role} is silent")
        value = float(self.score(reference.astype(np.float64), degraded.astype(np.float64), sample_rate))
        if not isfinite(value):
            raise Unscorable(f"{self.label} is not finite")
        return value

    @abstractmethod
    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        """Value for two audible, finite float64 signals [T] of equal length; may raise `Unscorable`."""


class PESQ(SpeechMetric):
    """Perceptual evaluation of speech quality as MOS-LQO (about 1 to 4.64), through the `pesq` package.

    Args:
        mode: "wb", wide band (P.862.2), scored at 16 kHz; or "nb", narrow band (P.862.1), scored at the signals'
            own rate if that is 8 kHz, else at 16 kHz.

    Raises:
        ValueError: The mode is neither.
    """

    unit = "MOS-LQO"

    def __init__(self, mode: Literal["wb", "nb"] = "wb") -> None:
        if mode not in ("wb", "nb"):
            raise ValueError(f"PESQ mode {mode!r} is unknown; use 'wb' or 'nb'")
        self.mode = mode
        self.name = f"pesq_{mode}"
        self.label = f"PESQ-{mode.upper()}"

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        from pesq import PesqError, pesq

        rate = 8000 if self.mode == "nb" and sample_rate == 8000 else 16000
        reference, degraded = (resample(signal, sample_rate, rate) for signal in (reference, degraded))
        try:
            return pesq(rate, reference, degraded, self.mode, on_error=PesqError.RAISE_EXCEPTION)
        except PesqError as error:
            message = error.args[0] if error.args else ""
            text = message.decode() if isinstance(message, bytes) else str(message)
            raise Unscorable(f"{self.label}: {text.strip() or type(error).__name__}") from error


class STOI(SpeechMetric):
    """Short-time objective intelligibility (Taal 2011), or its extended form (Jensen 2016); see `intelligibility`.

    Args:
        extended: Compute ESTOI instead of STOI.
    """

    def __init__(self, extended: bool = False) -> None:
        self.extended = extended
        self.name = "estoi" if extended else "stoi"
        self.label = self.name.upper()

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        from callbacks.metrics import intelligibility

        try:
            pair = intelligibility.segments(reference, degraded, sample_rate)
        except intelligibility.TooShort as error:
            raise Unscorable(f"{self.label}: too few frames with speech") from error
        return intelligibility.extended_stoi(pair) if self.extended else intelligibility.stoi(pair)


class SISDR(SpeechMetric):
    """Scale-invariant signal-to-distortion ratio (Le Roux 2019) in dB, without removing the mean first.

    The same as torchmetrics' `scale_invariant_signal_distortion_ratio` with its default `zero_mean=False`.
    """

    name = "si_sdr"
    label = "SI-SDR"
    unit = "dB"

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        epsilon = np.finfo(np.float64).eps
        # Sums rather than dot products: BLAS rounds by its number of threads.
        scale = (np.sum(degraded * reference) + epsilon) / (np.sum(np.square(reference)) + epsilon)
        target = scale * reference
        noise = np.sum(np.square(target - degraded))
        return 10 * np.log10((np.sum(np.square(target)) + epsilon) / (noise + epsilon))


class MelDistance(SpeechMetric):
    """Mean absolute difference in dB between the log-mel magnitude spectrograms of both signals; 0 is best.

    Magnitudes of a full-scale sine are near 1; anything below `floor` counts as the floor, so that digital silence
    stays finite. The filters are HTK-mel triangles from 0 Hz to half the sample rate.

    Args:
        bands: Number of mel bands.
        window: Length of the Hann window in seconds, rounded to whole samples; the hop is a quarter of it.
        floor: Smallest magnitude told apart, full scale 1 (1e-4 is -80 dB).
    """

    name = "mel"
    label = "mel distance"
    unit = "dB"
    higher_is_better = False

    def __init__(self, bands: int = 80, *, window: float = 0.032, floor: float = 1e-4) -> None:
        if bands < 1 or window <= 0 or floor <= 0:
            raise ValueError(f"bands {bands}, window {window} and floor {floor} must all be positive")
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


def resample(signal: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Polyphase resampling of a signal [T] from `rate` to `new_rate` Hz; returned as is when they are equal."""
    if rate == new_rate:
        return signal
    from scipy.signal import resample_poly

    divisor = gcd(rate, new_rate)
    return resample_poly(signal, new_rate // divisor, rate // divisor)


def default_metrics() -> list[SpeechMetric]:
    """PESQ-WB, PESQ-NB, STOI, ESTOI, SI-SDR and the mel distance."""
    return [PESQ("wb"), PESQ("nb"), STOI(), STOI(extended=True), SISDR(), MelDistance()]
