"""Quantizers: one method a file, all behind `Quantizer`."""

from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.bsq import BSQ
from codec.quantizers.channel_optimized import ChannelOptimizedCodebook
from codec.quantizers.codebooks import Codebook, EMACodebook, LearnedCodebook
from codec.quantizers.fsq import FSQ, Bound, DoubleTanhBound, TanhBound
from codec.quantizers.residual_fsq import ResidualFSQ
from codec.quantizers.rounding import Dithered, Rounding, StraightThrough
from codec.quantizers.rvq import RVQ
from codec.quantizers.scalar import ScalarQuantizer

__all__ = [
    "BSQ",
    "FSQ",
    "RVQ",
    "Bound",
    "ChannelOptimizedCodebook",
    "Codebook",
    "Dithered",
    "DoubleTanhBound",
    "EMACodebook",
    "LearnedCodebook",
    "Quantizer",
    "QuantizerOutput",
    "ResidualFSQ",
    "Rounding",
    "ScalarQuantizer",
    "StraightThrough",
    "TanhBound",
]
