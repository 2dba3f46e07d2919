"""Radio channels: modulation and demapping, flat Rayleigh and Rician fading, OFDM; closed forms of their statistics."""

from codec.channels.radio.closed_forms import average_fade_duration, fade_margin_db, level_crossing_rate, outage
from codec.channels.radio.fading import FadingChannel, RadioChannel
from codec.channels.radio.modulation import BPSK, QAM16, QPSK, Modulation
from codec.channels.radio.ofdm import DelayProfile, ExponentialProfile, OFDMChannel

__all__ = [
    "BPSK",
    "QAM16",
    "QPSK",
    "DelayProfile",
    "ExponentialProfile",
    "FadingChannel",
    "Modulation",
    "OFDMChannel",
    "RadioChannel",
    "average_fade_duration",
    "fade_margin_db",
    "level_crossing_rate",
    "outage",
]
