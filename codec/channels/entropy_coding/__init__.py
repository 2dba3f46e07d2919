"""Entropy coding of codes: entropies, adaptive models, an arithmetic coder, and a channel for its stream."""

from codec.channels.entropy_coding.adaptive import AdaptiveDigit, adaptive_bits
from codec.channels.entropy_coding.channel import EntropyCodedChannel
from codec.channels.entropy_coding.coder import EntropyCode, PacketCoder
from codec.channels.entropy_coding.entropies import Entropy, code_entropies

__all__ = [
    "AdaptiveDigit",
    "Entropy",
    "EntropyCode",
    "EntropyCodedChannel",
    "PacketCoder",
    "adaptive_bits",
    "code_entropies",
]
