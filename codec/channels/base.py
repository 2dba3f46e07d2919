"""The contract of channels: bits in, bits or their probabilities out, every draw from an explicit generator."""

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor


def draw_generator(seed: int, clip_id: str, family: str, repeat: int) -> torch.Generator:
    """The CPU generator of one channel draw, a function of its arguments alone.

    A score made with it does not depend on batch size, order, workers or number of GPUs. The error rate is left out:
    the draws of a family at rising rates use the same random numbers, so that rates compare pairwise on a clip.
    """
    key = f"{seed}\0{clip_id}\0{family}\0{repeat}".encode()
    digest = hashlib.sha256(key).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


class Channel(ABC):
    """Damages bits.

    Attributes:
        family: kind of channel ("bsc"); settings of one family draw the same random numbers.
        name: family and parameters, unique among settings ("bsc-0.01").
        error_rate: expected share of bits received wrong or lost.
    """

    family: str
    name: str
    error_rate: float

    @property
    def curve(self) -> str:
        """The line that this setting lies on in a figure over error rates."""
        return self.family

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits that are sent for `frames` frames of `frame_bits` each, parity included."""
        return frames * frame_bits

    @abstractmethod
    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit bits.

        Args:
            bits: uint8 `[..., F, n]`, one frame of n bits a row; channels that ignore frames take any shape.
            generator: on the CPU; source of all draws.

        Returns:
            The same shape on `bits`' device: uint8 hard decisions, or float32 probabilities that each bit is a one,
            of which exactly 0.5 says that nothing is known of the bit (it was lost).
        """


def check_share(name: str, value: float) -> float:
    """`value` as a float in [0, 1]; raises ValueError, naming it, where it is not."""
    if not 0.0 <= value <= 1.0:
        raise ValueError(f"{name} {value} must lie in [0, 1], for example 0.01.")
    return float(value)


def decide(received: Tensor) -> tuple[Tensor, Tensor]:
    """Hard decisions and losses of what a channel returned.

    Returns:
        uint8 bits, and bool `lost`, True where nothing is known of a bit (its decision is then 0).
    """
    if not received.is_floating_point():
        return received, torch.zeros_like(received, dtype=torch.bool)
    return (received > 0.5).to(torch.uint8), received == 0.5


def lose(bits: Tensor, lost: Tensor) -> Tensor:
    """Bits or probabilities as float32, 0.5 where `lost` (broadcast) is True."""
    return bits.float().masked_fill(lost.to(bits.device), 0.5)
