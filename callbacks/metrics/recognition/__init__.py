"""Word and character error rates, and the recognisers that they listen through."""

from callbacks.metrics.recognition.error_rates import CharacterErrorRate, ErrorRate, WordErrorRate, normal_text
from callbacks.metrics.recognition.recognisers import PocketSphinx, Recogniser, TransformersRecogniser

__all__ = [
    "CharacterErrorRate",
    "ErrorRate",
    "PocketSphinx",
    "Recogniser",
    "TransformersRecogniser",
    "WordErrorRate",
    "normal_text",
]
