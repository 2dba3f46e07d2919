"""Speaker similarity: the cosine between embeddings of the voice before and behind the codec."""

from __future__ import annotations

import numpy as np

from callbacks.metrics.base import SpeechMetric, Unscorable
from callbacks.metrics.recent import Recent
from callbacks.metrics.speaker.encoders import Resemblyzer, SpeakerEncoder


class SpeakerSimilarity(SpeechMetric):
    """Cosine of the speaker embeddings of the original and of the degraded signal, often called SIM: 1 for one voice.

    A signal in which no voice is found has no score and counts with the least cosine that the encoder can give. Values
    of different encoders do not compare. For reference: of one encoder, measure other clips of the same speaker, and
    clips of other speakers.

    Args:
        encoder: `Resemblyzer()` if None.
    """

    def __init__(self, encoder: SpeakerEncoder | None = None) -> None:
        self.encoder = Resemblyzer() if encoder is None else encoder
        self.name = "sim" if isinstance(self.encoder, Resemblyzer) else f"sim_{self.encoder.name}"
        self.label = f"SIM ({self.encoder.label})"
        self.worst = self.encoder.least
        self._embedding = Recent(self.encoder.embedding)

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        first, second = (self._embedding(signal, sample_rate) for signal in (reference, degraded))
        if first is None or second is None:
            role = "the reference" if first is None else "the degraded signal"
            raise Unscorable(f"{self.label}: no voice in {role}")
        return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
