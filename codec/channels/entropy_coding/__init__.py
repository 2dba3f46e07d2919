"""Entropy coding of codes: entropies, adaptive models, an arithmetic coder, and a channel for its stream."""

from codec.channels.entropy_coding.adaptive import AdaptiveDigit, adaptive_bits
from codec.channels.entropy_coding.entropies import Entropy, entropies

__all__ = ["AdaptiveDigit", "Entropy", "adaptive_bits", "entropies"]
