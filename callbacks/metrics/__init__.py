"""Speech metrics on NumPy signals; free of PyTorch, so that a scoring worker starts quickly."""

from callbacks.metrics.base import Requirement, SpeechMetric, Unscorable
from callbacks.metrics.level import LevelDifference
from callbacks.metrics.mel_distance import MelDistance
from callbacks.metrics.pesq import PESQ
from callbacks.metrics.plcmos import PLCMOS
from callbacks.metrics.si_sdr import SISDR
from callbacks.metrics.stoi import STOI

__all__ = [
    "PESQ",
    "PLCMOS",
    "SISDR",
    "STOI",
    "LevelDifference",
    "MelDistance",
    "Requirement",
    "SpeechMetric",
    "Unscorable",
    "default_metrics",
]


def default_metrics() -> list[SpeechMetric]:
    """PESQ-WB, PESQ-NB, STOI, ESTOI, the mel distance and the level difference.

    `SISDR` is not among them: it says nothing of decoders that invent the phases of the signal, as those here do.
    """
    return [PESQ("wb"), PESQ("nb"), STOI(), STOI(extended=True), MelDistance(), LevelDifference()]
