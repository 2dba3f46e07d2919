"""Quantizers: one method a file, all behind `Quantizer`."""

from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.fsq import FSQ, Bound, DoubleTanhBound, TanhBound

__all__ = ["FSQ", "Bound", "DoubleTanhBound", "Quantizer", "QuantizerOutput", "TanhBound"]
