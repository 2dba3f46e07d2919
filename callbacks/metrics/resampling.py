"""Resampling of signals to the rate of a metric."""

from __future__ import annotations

from math import gcd

import numpy as np


def resample(signal: np.ndarray, rate: int, new_rate: int) -> np.ndarray:
    """Polyphase resampling of a signal [T] from `rate` to `new_rate` Hz; returned as is when they are equal."""
    if rate == new_rate:
        return signal
    from scipy.signal import resample_poly

    divisor = gcd(rate, new_rate)
    return resample_poly(signal, new_rate // divisor, rate // divisor)


def at_16_khz(signal: np.ndarray, rate: int) -> np.ndarray:
    """A float64 signal [T] as networks of speech take it: at 16 kHz, clipped to full scale, float32."""
    return np.clip(resample(signal, rate, 16_000), -1, 1).astype(np.float32)
