"""PLCMOS v2 (Diener et al. 2023), the opinion of packet-loss concealment, through the `speechmos` package."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from callbacks.metrics.base import Unscorable
from callbacks.metrics.opinion.base import PredictedOpinion
from callbacks.metrics.packages import imported
from callbacks.metrics.resampling import resample

RATE = 16_000  # Hz, of the network
SHORTEST = 1600  # samples: of fewer than 1408, the network's poolings leave nothing
RATERS, WIDTH = 15, 64  # drawn listeners over which the package averages, and the width of their embedding


class PLCMOS(PredictedOpinion):
    """Mean opinion score, 1 to 5, that listeners of concealed packet losses would give, estimated without reference.

    The network of Diener et al. (PLCMOS, Interspeech 2023, arXiv 2305.15127), version 2, which `speechmos` brings. It
    hears the degraded signal alone, at 16 kHz and clipped to full scale. Its score is a mean over embeddings of drawn
    listeners; the package draws them from NumPy's global generator, here they are always the first 15 that it draws
    after `numpy.random.seed(0)`. The score depends on nothing but the signal, and the global generator stays as it is.

    A silent signal has no score. As with PESQ, the mean is not shown where the mean STOI of the same draws is below
    0.4, as nothing compares the signal with its reference: white noise scores above 3.

    Raises:
        MissingDependency: speechmos or onnxruntime is not installed.
    """

    name, label = "plcmos", "PLCMOS"

    def __init__(self) -> None:
        _packages()

    def opinion(self, signal: np.ndarray, sample_rate: int) -> float:
        signal = np.clip(resample(signal, sample_rate, RATE), -1, 1)
        if len(signal) < SHORTEST:
            raise Unscorable(f"{self.label}: too short")
        model = _model()
        features = model.stft_transform(signal).astype(np.float32)[None, None]  # [1, 1, frames, 257]
        inputs = [{"degraded_audio": features, "rater_embed": rater[None]} for rater in _raters()]
        return float(np.mean([model.session.run(None, each)[0].item() for each in inputs]))


@lru_cache(maxsize=1)
def _model() -> Any:
    """The package's network, on one thread: the worker processes share the cores, and rounding is the same in all."""
    plcmos, onnxruntime = _packages()
    model = plcmos.PLCMOS()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model.session = onnxruntime.InferenceSession(model.model_path, options)
    return model


def _packages() -> list[Any]:
    """The module of speechmos, and onnxruntime."""
    return imported("PLCMOS", "mos", "speechmos.plcmos", "onnxruntime")


def _raters() -> np.ndarray:
    """Embeddings of the listeners, float32 `[15, 64]`."""
    return np.random.RandomState(0).normal(size=(RATERS, WIDTH)).astype(np.float32)
