"""The signals of a listening test: equally long, anchors by low-pass filters, lossless as FLAC."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from callbacks.metrics.checks import require
from callbacks.metrics.pesq import resample
from callbacks.report.audio import read_audio
from codec.errors import UnreadableFile

ATTENUATION = 60.0  # dB, of the anchors' stop band
TRANSITION = 1 / 7  # of the cut-off: 3.5 to 4 kHz, 7 to 8 kHz


def read_mono(file: Path) -> tuple[np.ndarray, int]:
    """The signal [T] in float64 and its rate in Hz; UnreadableFile where it is damaged, empty or not mono."""
    signal, rate = read_audio(file)
    if signal.shape[1] != 1:
        raise UnreadableFile(
            str(file), allowed=f"has {signal.shape[1]} channels, and a listening test takes one", remedy="test again"
        )
    return signal[:, 0].astype(np.float64), rate


def fit(signal: np.ndarray, rate: int, *, new_rate: int, length: int) -> np.ndarray:
    """The signal [length] at `new_rate`, cut or filled with zeros at its end: a length would tell systems apart."""
    if rate != new_rate:
        signal = resample(signal, rate, new_rate)
    return np.pad(signal[:length], (0, max(0, length - len(signal))))


def low_pass(signal: np.ndarray, rate: int, cut_off: float) -> np.ndarray:
    """The signal [T] without what is above `cut_off` in Hz: an anchor of ITU-R BS.1534-3.

    A linear-phase filter by the window method with a Kaiser window (Kaiser 1974), without delay: flat to 0.1 dB up to
    the cut-off and 60 dB down from 8/7 of it on. That meets the recommendation's template of the 3.5 kHz anchor:
    25 dB at 4 kHz and 50 dB at 4.5 kHz.

    Raises:
        InvalidValue: The signal holds nothing above the cut-off, or the cut-off is not positive.
    """
    from scipy.signal import fftconvolve, firwin, kaiser_beta, kaiserord

    width = cut_off * TRANSITION
    require(
        cut_off > 0 and cut_off + width <= rate / 2,
        "the anchor's cut-off",
        f"{cut_off:g} Hz",
        f"must be above 0 and at most {rate / 2 / (1 + TRANSITION):.0f} Hz at a sample rate of {rate} Hz",
    )
    taps, _ = kaiserord(ATTENUATION, 2 * width / rate)
    taps |= 1  # odd: the delay is a whole number of samples
    middle = min(cut_off + width / 2, rate / 2 * (1 - 1e-6))
    response = firwin(taps, middle, window=("kaiser", kaiser_beta(ATTENUATION)), fs=rate)
    return np.asarray(fftconvolve(signal, response)[taps // 2 :][: len(signal)])


def level_gain(signal: np.ndarray, reference: np.ndarray) -> float:
    """The factor that gives a signal the power of its reference; 1 where either is silent."""
    power, wanted = float(np.square(signal).sum()), float(np.square(reference).sum())
    return (wanted / power) ** 0.5 if power and wanted else 1.0


def headroom(signals: Sequence[np.ndarray]) -> float:
    """One factor, at most 1, with which none of the signals leaves [−1, 1)."""
    peak = max(float(np.abs(signal).max()) for signal in signals)
    return min(1.0, (1 - 2**-15) / peak) if peak > 1 else 1.0


def flac(signal: np.ndarray, rate: int) -> str:
    """A signal [T] as base64 of a FLAC of 16 bits; 16-bit samples that were read from a file stay the same."""
    import soundfile

    samples = np.clip(np.round(signal * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
    compressed = io.BytesIO()
    soundfile.write(compressed, samples, rate, format="FLAC", subtype="PCM_16")
    return base64.b64encode(compressed.getvalue()).decode()
