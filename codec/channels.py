"""Channels that damage bits between encoder and decoder, drawn from explicit generators."""

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
        family: kind of channel, shared by all its settings ("bsc").
        name: family and parameters, unique among settings ("bsc-0.01").
        error_rate: expected share of bits received wrong.
    """

    family: str
    name: str
    error_rate: float

    @abstractmethod
    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit uint8 bits of any shape; draws come from the CPU `generator`, the result is on `bits`' device."""


class BinarySymmetricChannel(Channel):
    """Flips every bit on its own with probability `bit_error_rate` (NeuCodec, section 3.4).

    Draws of one generator state are nested: a bit flipped at a rate is flipped at every higher rate.

    Raises:
        ValueError: the rate is outside [0, 1].
    """

    family = "bsc"

    def __init__(self, bit_error_rate: float) -> None:
        if not 0.0 <= bit_error_rate <= 1.0:
            raise ValueError(f"bit_error_rate {bit_error_rate} must lie in [0, 1], for example 0.01.")
        self.error_rate = float(bit_error_rate)
        self.name = f"{self.family}-{bit_error_rate:g}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        flips = torch.rand(bits.shape, generator=generator, dtype=torch.float64) < self.error_rate
        return bits ^ flips.to(bits.device, bits.dtype)
