"""Channels that damage bits between encoder and decoder, and the codes that protect them."""

from codec.channels.base import Channel, decide, draw_generator
from codec.channels.bit_errors import AWGNChannel, BinarySymmetricChannel, GilbertElliottChannel
from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode
from codec.channels.coding.protection import ProtectedChannel
from codec.channels.composed import MixedChannel, SelectedBitsChannel
from codec.channels.frame_losses import FrameErasureChannel, PacketLossChannel

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
