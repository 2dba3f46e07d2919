"""Speech metrics on NumPy signals; free of PyTorch, so that a scoring worker starts quickly."""

from callbacks.metrics.base import Requirement, SpeechMetric, Unscorable
from callbacks.metrics.level import LevelDifference
from callbacks.metrics.mel_distance import MelDistance
from callbacks.metrics.opinion import DNSMOS, PLCMOS, UTMOS, DistillMOS
from callbacks.metrics.pesq import PESQ
from callbacks.metrics.recognition import (
    CharacterErrorRate,
    PocketSphinx,
    Recogniser,
    TransformersRecogniser,
    WordErrorRate,
)
from callbacks.metrics.si_sdr import SISDR
from callbacks.metrics.speaker import Resemblyzer, SpeakerEncoder, SpeakerSimilarity, TransformersXVector
from callbacks.metrics.stoi import STOI
from callbacks.metrics.torchmetrics_adapter import TorchMetric
from callbacks.metrics.visqol import ViSQOL

__all__ = [
    "DNSMOS",
    "PESQ",
    "PLCMOS",
    "SISDR",
    "STOI",
    "UTMOS",
    "CharacterErrorRate",
    "DistillMOS",
    "LevelDifference",
    "MelDistance",
    "PocketSphinx",
    "Recogniser",
    "Requirement",
    "Resemblyzer",
    "SpeakerEncoder",
    "SpeakerSimilarity",
    "SpeechMetric",
    "TorchMetric",
    "TransformersRecogniser",
    "TransformersXVector",
    "Unscorable",
    "ViSQOL",
    "WordErrorRate",
    "default_metrics",
]


def default_metrics() -> list[SpeechMetric]:
    """PESQ-WB, PESQ-NB, STOI, ESTOI, the mel distance and the level difference.

    `SISDR` is not among them: it says nothing of decoders that invent the phases of the signal, as those here do.
    """
    return [PESQ("wb"), PESQ("nb"), STOI(), STOI(extended=True), MelDistance(), LevelDifference()]
