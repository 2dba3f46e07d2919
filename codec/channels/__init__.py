"""Channels that damage bits between encoder and decoder."""

from codec.channels.base import Channel, decide, draw_generator
from codec.channels.bits import AWGNChannel, BinarySymmetricChannel, GilbertElliottChannel
from codec.channels.composed import MixedChannel, SelectedBitsChannel
from codec.channels.frames import FrameErasureChannel, PacketLossChannel

__all__ = [
    "AWGNChannel",
    "BinarySymmetricChannel",
    "Channel",
    "FrameErasureChannel",
    "GilbertElliottChannel",
    "MixedChannel",
    "PacketLossChannel",
    "SelectedBitsChannel",
    "decide",
    "draw_generator",
]
