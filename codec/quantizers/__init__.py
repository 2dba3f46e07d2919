"""Quantizers: one method a file, all behind `Quantizer`."""

from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.fsq import FSQ, Bound, DoubleTanhBound, TanhBound
from codec.quantizers.rvq import RVQ, Codebook, EMACodebook, LearnedCodebook

__all__ = [
    "FSQ",
    "RVQ",
    "Bound",
    "Codebook",
    "DoubleTanhBound",
    "EMACodebook",
    "LearnedCodebook",
    "Quantizer",
    "QuantizerOutput",
    "TanhBound",
]
