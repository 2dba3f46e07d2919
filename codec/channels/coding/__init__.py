"""Forward error correction, and channels behind it."""

from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode
from codec.channels.coding.protection import ProtectedChannel

__all__ = ["ConvolutionalCode", "ErrorCorrection", "Hamming74", "ProtectedChannel", "Repetition"]
