"""The scale-invariant signal-to-distortion ratio (Le Roux et al. 2019)."""

from __future__ import annotations

import numpy as np

from callbacks.metrics.base import SpeechMetric


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
