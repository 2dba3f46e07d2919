"""Channels that damage bits between encoder and decoder, and the codes that protect them."""

from codec.channels.base import Channel, decide, draw_generator
from codec.channels.bits import AWGNChannel, BinarySymmetricChannel, GilbertElliottChannel
from codec.channels.composed import MixedChannel, SelectedBitsChannel
from codec.channels.fec import ConvolutionalCode, ErrorCorrection, Hamming74, Repetition
from codec.channels.frames import FrameErasureChannel, PacketLossChannel
from codec.channels.protection import ProtectedChannel

__all__ = [
    "AWGNChannel",
    "BinarySymmetricChannel",
    "Channel",
    "ConvolutionalCode",
    "ErrorCorrection",
    "FrameErasureChannel",
    "GilbertElliottChannel",
    "Hamming74",
    "MixedChannel",
    "PacketLossChannel",
    "ProtectedChannel",
    "Repetition",
    "SelectedBitsChannel",
    "decide",
    "draw_generator",
]
