"""Channels that lose packets: drawn from models, taken from recorded traces, or late for a playout buffer."""

from codec.channels.packets.fits import fit_gilbert, fit_gilbert_elliott, fit_three_state
from codec.channels.packets.frame_losses import FrameErasureChannel, PacketChannel, PacketLossChannel
from codec.channels.packets.jitter import DelayLaw, GammaDelay, JitterChannel, ParetoDelay
from codec.channels.packets.loss_models import GilbertElliottLossChannel, LossChain, ThreeStateLossChannel
from codec.channels.packets.statistics import LossStatistics, loss_statistics
from codec.channels.packets.trace_files import PacketTrace, read_trace, write_trace
from codec.channels.packets.traces import LossTraceChannel

__all__ = [
    "DelayLaw",
    "FrameErasureChannel",
    "GammaDelay",
    "GilbertElliottLossChannel",
    "JitterChannel",
    "LossChain",
    "LossStatistics",
    "LossTraceChannel",
    "PacketChannel",
    "PacketLossChannel",
    "PacketTrace",
    "ParetoDelay",
    "ThreeStateLossChannel",
    "fit_gilbert",
    "fit_gilbert_elliott",
    "fit_three_state",
    "loss_statistics",
    "read_trace",
    "write_trace",
]
