"""DNSMOS P.808 and P.835 (Reddy et al. 2021, 2022), opinions on noise suppression, through `speechmos`."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from callbacks.metrics.checks import require
from callbacks.metrics.opinion.base import PredictedOpinion
from callbacks.metrics.packages import imported
from callbacks.metrics.recent import Recent
from callbacks.metrics.resampling import at_16_khz

Scale = Literal["overall", "signal", "background", "p808"]
COLUMNS = {"overall": "ovrl_mos", "signal": "sig_mos", "background": "bak_mos", "p808": "p808_mos"}  # the package's
LABELS = {"overall": "DNSMOS", "signal": "DNSMOS SIG", "background": "DNSMOS BAK", "p808": "DNSMOS P.808"}


class DNSMOS(PredictedOpinion):
    """Mean opinion score of a signal and its background, by the networks of Reddy et al. in `speechmos`.

    P.808 of arXiv 2010.15258 (ICASSP 2021), P.835 of arXiv 2110.01763 (ICASSP 2022). At 16 kHz, over windows of 9.01 s;
    shorter signals are repeated, as the package does. Several scales of one signal cost one run. MIT licence, models
    included (of Microsoft's DNS Challenge, CC-BY-4.0).

    Args:
        scale: "overall", "signal" or "background" of ITU-T P.835, or "p808", the overall opinion of P.808.

    Raises:
        InvalidValue: The scale is none of these.
        MissingDependency: speechmos or onnxruntime is not installed.
    """

    def __init__(self, scale: Scale = "overall") -> None:
        require(scale in COLUMNS, "DNSMOS scale", repr(scale), f"must be one of {', '.join(COLUMNS)}")
        _packages()
        self.scale = scale
        self.name, self.label = ("dnsmos" if scale == "overall" else f"dnsmos_{scale}"), LABELS[scale]

    def opinion(self, signal: np.ndarray, sample_rate: int) -> float:
        return float(_scores(signal, sample_rate)[COLUMNS[self.scale]])


def _run(signal: np.ndarray, sample_rate: int) -> dict[str, float]:
    return _model()(at_16_khz(signal, sample_rate), 16_000, False)


_scores = Recent(_run, kept=2)


@lru_cache(maxsize=1)
def _model() -> Any:
    """The package's networks, each on one thread: the processes share the cores, and rounding is the same in all."""
    dnsmos, onnxruntime = _packages()
    folder = Path(dnsmos.__file__).parent / "dnsmos_models"
    files = [str(folder / name) for name in ("sig_bak_ovr.onnx", "model_v8.onnx")]
    model = dnsmos.DNSMOS(*files)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model.onnx_sess, model.p808_onnx_sess = (onnxruntime.InferenceSession(file, options) for file in files)
    return model


def _packages() -> list[Any]:
    """The module of speechmos, and onnxruntime."""
    return imported("DNSMOS", "mos", "speechmos.dnsmos", "onnxruntime")
