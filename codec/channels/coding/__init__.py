"""Forward error correction, and channels behind it."""

from codec.channels.coding.allocation import OptimizedProtection
from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode
from codec.channels.coding.five_g import LDPC5G, Polar5G
from codec.channels.coding.protection import ProtectedChannel
from codec.channels.coding.reed_solomon import ReedSolomon
from codec.channels.coding.unequal import UnequalProtection

__all__ = [
    "LDPC5G",
    "ConvolutionalCode",
    "ErrorCorrection",
    "Hamming74",
    "OptimizedProtection",
    "Polar5G",
    "ProtectedChannel",
    "ReedSolomon",
    "Repetition",
    "UnequalProtection",
]
