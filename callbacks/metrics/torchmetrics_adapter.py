"""Any audio metric of torchmetrics, by its class path."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from importlib import import_module
from math import isfinite
from typing import Any

import numpy as np

from callbacks.metrics.base import SpeechMetric, Unscorable
from callbacks.metrics.checks import require, require_at_least
from callbacks.metrics.resampling import resample


class TorchMetric(SpeechMetric):
    """A metric of torchmetrics (or with its interface) on one pair of signals: its own value, in a scoring process.

    >>> metric = TorchMetric("torchmetrics.audio.ScaleInvariantSignalDistortionRatio", unit="dB")

    Args:
        metric: class path, such as `torchmetrics.audio.SignalDistortionRatio`; its `update` takes predictions and
            targets, `[1, T]` each.
        init_args: arguments of the class, such as `{fs: 16000}`.
        name: for files and loggers; the class's name in small letters if None.
        label: in tables; the class's name if None.
        unit: of the value.
        rate: in Hz, to which signals are resampled first; None for the rate of the evaluation.
        worst: what a signal without a score counts; None leaves a mean with one out.

    Raises:
        InvalidValue: there is no such class, or it is none of torchmetrics' kind.
    """

    def __init__(
        self,
        metric: str,
        init_args: dict[str, Any] | None = None,
        *,
        name: str | None = None,
        label: str | None = None,
        unit: str = "",
        rate: int | None = None,
        worst: float | None = None,
    ) -> None:
        require(isinstance(metric, str), "metric", repr(metric), "must be a class path")
        require_at_least(1, rate=rate)
        require(worst is None or isfinite(worst), "worst", worst, "must be a number, or null")
        self.path, self.init_args, self.rate = metric, dict(init_args or {}), rate
        kind = metric.rpartition(".")[2]
        self.name, self.label = (kind.lower() if name is None else name), (kind if label is None else label)
        self.unit, self.worst = unit, worst
        self.higher_is_better = self._made.higher_is_better
        self._try()

    def _try(self) -> None:
        """InvalidValue unless the metric takes two signals: it is given a second of noise."""
        noise = np.random.default_rng(0).standard_normal(self.rate or 16_000)
        try:
            self.score(noise, noise, self.rate or 16_000)
        except Unscorable:
            pass  # of noise
        except (TypeError, AttributeError, LookupError) as error:
            from codec.errors import InvalidValue, first_line

            allowed = f"takes no two signals ({first_line(error)})"
            raise InvalidValue("metric", self.path, allowed, "give an audio metric") from error

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        import torch

        rate = sample_rate if self.rate is None else self.rate
        pair = (resample(signal, sample_rate, rate).astype(np.float32) for signal in (degraded, reference))
        made = self._made
        made.reset()
        try:
            with torch.inference_mode():
                made.update(*(torch.from_numpy(signal)[None] for signal in pair))
                return float(made.compute())
        except (ValueError, RuntimeError) as error:
            raise Unscorable(f"{self.label}: {type(error).__name__}") from error

    def __getstate__(self) -> Mapping[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_made"}  # each process makes its own

    @cached_property
    def _made(self) -> Any:
        module, _, name = self.path.rpartition(".")
        try:
            made = getattr(import_module(module), name)(**self.init_args)
        except (ImportError, AttributeError, TypeError, ValueError) as error:
            from codec.errors import InvalidValue, first_line

            remedy = "give a class such as torchmetrics.audio.SignalDistortionRatio, and its arguments as init_args"
            raise InvalidValue("metric", self.path, f"cannot be made ({first_line(error)})", remedy) from error
        lacking = [part for part in ("update", "compute", "reset") if not callable(getattr(made, part, None))]
        require(not lacking, "metric", self.path, f"has no {', '.join(lacking)}", "give a torchmetrics.Metric")
        return made
