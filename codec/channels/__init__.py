"""From codes to received latents: bits, channels that damage them, error correction, index assignment, concealment."""

from codec.channels.base import Channel, KnownErrorRate, decide, draw_generator
from codec.channels.bit_errors import AWGNChannel, BinarySymmetricChannel, GilbertElliottChannel
from codec.channels.coding import ConvolutionalCode, ErrorCorrection, Hamming74, ProtectedChannel, Repetition
from codec.channels.composed import MixedChannel, SelectedBitsChannel, TruncatedChannel
from codec.channels.concealment import (
    Concealment,
    InterpolatedLatent,
    MeanLatent,
    PosteriorMean,
    RepeatLast,
    ZeroLatent,
)
from codec.channels.index_maps import BinarySwitchingMap, GrayMap, IndexMap, NaturalMap, PermutedMap
from codec.channels.learned_flips import LearnedFlips
from codec.channels.link import Connection, Link
from codec.channels.packets import (
    FrameErasureChannel,
    LossTraceChannel,
    PacketLossChannel,
    PacketTrace,
    read_trace,
    write_trace,
)
from codec.channels.priors import CodeCounts, CodePrior
from codec.channels.radio import (
    BPSK,
    QAM16,
    QPSK,
    DelayProfile,
    ExponentialProfile,
    FadingChannel,
    Modulation,
    OFDMChannel,
    RadioChannel,
    average_fade_duration,
    fade_margin_db,
    level_crossing_rate,
    outage,
)
from codec.channels.reception import Receiver, Reception

__all__ = [
    "BPSK",
    "QAM16",
    "QPSK",
    "AWGNChannel",
    "BinarySwitchingMap",
    "BinarySymmetricChannel",
    "Channel",
    "CodeCounts",
    "CodePrior",
    "Concealment",
    "Connection",
    "ConvolutionalCode",
    "DelayProfile",
    "ErrorCorrection",
    "ExponentialProfile",
    "FadingChannel",
    "FrameErasureChannel",
    "GilbertElliottChannel",
    "GrayMap",
    "Hamming74",
    "IndexMap",
    "InterpolatedLatent",
    "KnownErrorRate",
    "LearnedFlips",
    "Link",
    "LossTraceChannel",
    "MeanLatent",
    "MixedChannel",
    "Modulation",
    "NaturalMap",
    "OFDMChannel",
    "PacketLossChannel",
    "PacketTrace",
    "PermutedMap",
    "PosteriorMean",
    "ProtectedChannel",
    "RadioChannel",
    "Receiver",
    "Reception",
    "RepeatLast",
    "Repetition",
    "SelectedBitsChannel",
    "TruncatedChannel",
    "ZeroLatent",
    "average_fade_duration",
    "decide",
    "draw_generator",
    "fade_margin_db",
    "level_crossing_rate",
    "outage",
    "read_trace",
    "write_trace",
]
