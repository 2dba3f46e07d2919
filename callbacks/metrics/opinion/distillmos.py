"""DistillMOS (Stahl and Gamper 2025), an opinion on speech quality, through the `distillmos` package."""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from typing import Any

import numpy as np

from callbacks.metrics.opinion.base import PredictedOpinion
from callbacks.metrics.packages import imported
from callbacks.metrics.resampling import at_16_khz


class DistillMOS(PredictedOpinion):
    """Mean opinion score by the distilled network of Stahl and Gamper (ICASSP 2025, arXiv 2502.05356).

    It was distilled from a model of quality on features of XLS-R, and hears 16 kHz; the weights come in the wheel. MIT
    licence, weights included.

    Raises:
        MissingDependency: distillmos is not installed.
    """

    name, label = "distillmos", "DistillMOS"

    def __init__(self) -> None:
        _package()

    def opinion(self, signal: np.ndarray, sample_rate: int) -> float:
        import torch

        with torch.inference_mode():
            return float(_model()(torch.from_numpy(at_16_khz(signal, sample_rate))[None])[0])


@lru_cache(maxsize=1)
def _model() -> Any:
    with contextlib.redirect_stdout(io.StringIO()):  # it prints where its weights are
        return _package().ConvTransformerSQAModel().eval()


def _package() -> Any:
    (package,) = imported("DistillMOS", "mos", "distillmos")
    return package
