"""PESQ (ITU-T P.862), narrow and wide band, through the `pesq` package."""

from __future__ import annotations

from typing import Literal

import numpy as np

from callbacks.metrics.base import Requirement, SpeechMetric, Unscorable
from callbacks.metrics.checks import require
from callbacks.metrics.resampling import resample

LEAST_STOI = 0.4


class PESQ(SpeechMetric):
    """Perceptual evaluation of speech quality as MOS-LQO (about 1 to 4.64), through the `pesq` package.

    Its mean is not shown where the mean STOI of the same draws is below 0.4. No speech is left there, which PESQ's
    alignment and loudness model presuppose: of one clip behind 50 % bit errors, eight draws scored 1.05 to 2.57, and
    white noise up to 2.85.

    Args:
        mode: "wb", wide band (P.862.2), scored at 16 kHz; or "nb", narrow band (P.862.1), scored at the signals'
            own rate if that is 8 kHz, else at 16 kHz.

    Raises:
        InvalidValue: The mode is neither.
    """

    unit = "MOS-LQO"
    worst = 1.0
    needs = Requirement(
        "stoi", LEAST_STOI, "PESQ says nothing where no speech is left, and can rise with the bit error rate"
    )

    def __init__(self, mode: Literal["wb", "nb"] = "wb") -> None:
        require(mode in ("wb", "nb"), "PESQ mode", repr(mode), "must be 'wb' or 'nb'")
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
