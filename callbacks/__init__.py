"""Lightning callbacks that score, average, watch and write; imported lazily, name by name.

Scoring workers import `callbacks.metrics` and must start without PyTorch or Lightning, so nothing is imported here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callbacks.agreement import AgreementReport
    from callbacks.bit_sensitivity import BitSensitivity
    from callbacks.channel_evaluation import ChannelEvaluation
    from callbacks.codebook_usage import CodebookUsage
    from callbacks.ema import CodecEMA
    from callbacks.error_spread import ErrorSpread
    from callbacks.metrics import PESQ, SISDR, STOI, MelDistance, SpeechMetric, Unscorable
    from callbacks.prediction_writer import PredictionWriter
    from callbacks.preflight import Preflight
    from callbacks.run_checkpoint import RunCheckpoint
    from callbacks.scoring import ScoringPool
    from callbacks.throughput import Throughput
    from callbacks.training_curves import TrainingCurves

_HOMES = {
    "BitSensitivity": "callbacks.bit_sensitivity",
    "AgreementReport": "callbacks.agreement",
    "ChannelEvaluation": "callbacks.channel_evaluation",
    "CodebookUsage": "callbacks.codebook_usage",
    "CodecEMA": "callbacks.ema",
    "ErrorSpread": "callbacks.error_spread",
    "MelDistance": "callbacks.metrics",
    "PESQ": "callbacks.metrics",
    "PredictionWriter": "callbacks.prediction_writer",
    "Preflight": "callbacks.preflight",
    "RunCheckpoint": "callbacks.run_checkpoint",
    "SISDR": "callbacks.metrics",
    "STOI": "callbacks.metrics",
    "ScoringPool": "callbacks.scoring",
    "SpeechMetric": "callbacks.metrics",
    "Throughput": "callbacks.throughput",
    "TrainingCurves": "callbacks.training_curves",
    "Unscorable": "callbacks.metrics",
}

__all__ = [
    "PESQ",
    "SISDR",
    "STOI",
    "AgreementReport",
    "BitSensitivity",
    "ChannelEvaluation",
    "CodebookUsage",
    "CodecEMA",
    "ErrorSpread",
    "MelDistance",
    "PredictionWriter",
    "Preflight",
    "RunCheckpoint",
    "ScoringPool",
    "SpeechMetric",
    "Throughput",
    "TrainingCurves",
    "Unscorable",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {sorted(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
