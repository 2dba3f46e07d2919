"""Quantizers: one method a file, all behind `Quantizer`."""

from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.codebooks import Codebook, EMACodebook, LearnedCodebook
from codec.quantizers.fsq import FSQ, Bound, DoubleTanhBound, TanhBound
from codec.quantizers.residual_fsq import ResidualFSQ
from codec.quantizers.rounding import Dithered, Rounding, StraightThrough
from codec.quantizers.rvq import RVQ

__all__ = [
    "FSQ",
    "RVQ",
    "Bound",
    "Codebook",
    "Dithered",
    "DoubleTanhBound",
    "EMACodebook",
    "LearnedCodebook",
    "Quantizer",
    "QuantizerOutput",
    "ResidualFSQ",
    "Rounding",
    "StraightThrough",
    "TanhBound",
]
