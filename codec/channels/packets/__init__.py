"""Channels that lose packets: drawn from models, taken from recorded traces, or late for a playout buffer."""

from codec.channels.packets.frame_losses import FrameErasureChannel, PacketChannel, PacketLossChannel
from codec.channels.packets.trace_files import PacketTrace, read_trace, write_trace
from codec.channels.packets.traces import LossTraceChannel

__all__ = [
    "FrameErasureChannel",
    "LossTraceChannel",
    "PacketChannel",
    "PacketLossChannel",
    "PacketTrace",
    "read_trace",
    "write_trace",
]
