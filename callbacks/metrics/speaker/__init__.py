"""Speaker similarity, and the encoders of voices that it compares."""

from callbacks.metrics.speaker.encoders import Resemblyzer, SpeakerEncoder, TransformersXVector
from callbacks.metrics.speaker.similarity import SpeakerSimilarity

__all__ = ["Resemblyzer", "SpeakerEncoder", "SpeakerSimilarity", "TransformersXVector"]
