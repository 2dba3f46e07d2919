"""Lightning callbacks that score, average, watch and write; imported lazily, name by name.

Scoring workers import `callbacks.metrics` and must start without PyTorch or Lightning, so nothing is imported here.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from callbacks.analysis.agreement import AgreementReport
    from callbacks.analysis.bit_sensitivity import BitSensitivity
    from callbacks.analysis.cost_report import CostReport
    from callbacks.analysis.error_spread import ErrorSpread
    from callbacks.analysis.flip_damage import FlipDamage
    from callbacks.analysis.level_response import LevelResponse
    from callbacks.analysis.operating_curve import OperatingCurve
    from callbacks.analysis.prior_report import PriorReport
    from callbacks.analysis.system_table import SystemTable
    from callbacks.channel.evaluation import ChannelEvaluation
    from callbacks.metrics import (
        DNSMOS,
        PESQ,
        PLCMOS,
        SISDR,
        STOI,
        UTMOS,
        CharacterErrorRate,
        DistillMOS,
        LevelDifference,
        MelDistance,
        PocketSphinx,
        Recogniser,
        Resemblyzer,
        SpeakerEncoder,
        SpeakerSimilarity,
        SpeechMetric,
        TorchMetric,
        TransformersRecogniser,
        TransformersXVector,
        Unscorable,
        ViSQOL,
        WordErrorRate,
    )
    from callbacks.output.prediction_writer import PredictionWriter
    from callbacks.scoring.pool import ScoringPool
    from callbacks.training.codebook_usage import CodebookUsage
    from callbacks.training.ema import CodecEMA
    from callbacks.training.preflight import Preflight
    from callbacks.training.run_checkpoint import RunCheckpoint
    from callbacks.training.throughput import Throughput
    from callbacks.training.training_curves import TrainingCurves

_HOMES = {
    "CharacterErrorRate": "callbacks.metrics",
    "DNSMOS": "callbacks.metrics",
    "DistillMOS": "callbacks.metrics",
    "PocketSphinx": "callbacks.metrics",
    "Recogniser": "callbacks.metrics",
    "Resemblyzer": "callbacks.metrics",
    "SpeakerEncoder": "callbacks.metrics",
    "SpeakerSimilarity": "callbacks.metrics",
    "TorchMetric": "callbacks.metrics",
    "TransformersRecogniser": "callbacks.metrics",
    "TransformersXVector": "callbacks.metrics",
    "UTMOS": "callbacks.metrics",
    "ViSQOL": "callbacks.metrics",
    "WordErrorRate": "callbacks.metrics",
    "BitSensitivity": "callbacks.analysis.bit_sensitivity",
    "AgreementReport": "callbacks.analysis.agreement",
    "ChannelEvaluation": "callbacks.channel.evaluation",
    "CodebookUsage": "callbacks.training.codebook_usage",
    "CodecEMA": "callbacks.training.ema",
    "CostReport": "callbacks.analysis.cost_report",
    "ErrorSpread": "callbacks.analysis.error_spread",
    "FlipDamage": "callbacks.analysis.flip_damage",
    "LevelDifference": "callbacks.metrics",
    "LevelResponse": "callbacks.analysis.level_response",
    "MelDistance": "callbacks.metrics",
    "OperatingCurve": "callbacks.analysis.operating_curve",
    "PESQ": "callbacks.metrics",
    "PLCMOS": "callbacks.metrics",
    "PredictionWriter": "callbacks.output.prediction_writer",
    "PriorReport": "callbacks.analysis.prior_report",
    "Preflight": "callbacks.training.preflight",
    "RunCheckpoint": "callbacks.training.run_checkpoint",
    "SISDR": "callbacks.metrics",
    "STOI": "callbacks.metrics",
    "ScoringPool": "callbacks.scoring.pool",
    "SpeechMetric": "callbacks.metrics",
    "SystemTable": "callbacks.analysis.system_table",
    "Throughput": "callbacks.training.throughput",
    "TrainingCurves": "callbacks.training.training_curves",
    "Unscorable": "callbacks.metrics",
}

__all__ = [
    "DNSMOS",
    "PESQ",
    "PLCMOS",
    "SISDR",
    "STOI",
    "UTMOS",
    "AgreementReport",
    "BitSensitivity",
    "ChannelEvaluation",
    "CharacterErrorRate",
    "CodebookUsage",
    "CodecEMA",
    "CostReport",
    "DistillMOS",
    "ErrorSpread",
    "FlipDamage",
    "LevelDifference",
    "LevelResponse",
    "MelDistance",
    "OperatingCurve",
    "PocketSphinx",
    "PredictionWriter",
    "Preflight",
    "PriorReport",
    "Recogniser",
    "Resemblyzer",
    "RunCheckpoint",
    "ScoringPool",
    "SpeakerEncoder",
    "SpeakerSimilarity",
    "SpeechMetric",
    "SystemTable",
    "Throughput",
    "TorchMetric",
    "TrainingCurves",
    "TransformersRecogniser",
    "TransformersXVector",
    "Unscorable",
    "ViSQOL",
    "WordErrorRate",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {sorted(_HOMES)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
