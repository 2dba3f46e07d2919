"""Encoders from audio to latents: convolutional, spectral, the student, frozen speech models, and two fused."""

from codec.encoders.acoustic import AcousticEncoder
from codec.encoders.base import Encoder
from codec.encoders.feature_cache import TeacherCache
from codec.encoders.l3ac import StudentEncoder
from codec.encoders.semantic import FusedEncoder, HubertEncoder, W2VBertEncoder
from codec.encoders.spectral import MelEncoder, SpectralEncoder
from codec.encoders.streaming import EncodedStream, StreamingEncoder
from codec.encoders.w2v_bert import W2VBert

__all__ = [
    "AcousticEncoder",
    "EncodedStream",
    "Encoder",
    "FusedEncoder",
    "HubertEncoder",
    "MelEncoder",
    "SpectralEncoder",
    "StreamingEncoder",
    "StudentEncoder",
    "TeacherCache",
    "W2VBert",
    "W2VBertEncoder",
]
