"""Channels that damage bits between encoder and decoder, drawn from explicit generators."""

import hashlib
import math
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


class GilbertElliottChannel(Channel):
    """Bursts: a two-state Markov chain that is error-free in its good state (Gilbert 1960; Elliott 1963).

    The chain leaves the bad state with probability 1 / `burst_length` at each bit and enters it so that the share of
    bad bits is `bit_error_rate` / `bad_error_rate`. It starts in its stationary distribution.

    Args:
        bit_error_rate: mean share of bits received wrong.
        burst_length: mean stay in the bad state, in bits.
        bad_error_rate: probability of an error in the bad state; 0.5 is a fade that leaves nothing of the signal.

    Raises:
        ValueError: the rate exceeds that of the bad state, or the bursts are too short to reach it.
    """

    family = "gilbert-elliott"

    def __init__(self, bit_error_rate: float, burst_length: float = 20.0, *, bad_error_rate: float = 0.5) -> None:
        if not 0.0 < bad_error_rate <= 1.0 or not 0.0 <= bit_error_rate <= bad_error_rate:
            raise ValueError(
                f"bit_error_rate {bit_error_rate} must lie in [0, bad_error_rate], {bad_error_rate} in (0, 1]."
            )
        self.bad_share = bit_error_rate / bad_error_rate
        shortest = 1.0 if self.bad_share == 1.0 else max(1.0, self.bad_share / (1.0 - self.bad_share))
        if not burst_length >= shortest:
            raise ValueError(f"burst_length {burst_length} must be at least {shortest:g} bits at this error rate.")
        self.error_rate, self.burst_length, self.bad_error_rate = float(bit_error_rate), burst_length, bad_error_rate
        self.name = f"{self.family}-{bit_error_rate:g}-{burst_length:g}-{bad_error_rate:g}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        bad = self.bad_states(bits.numel(), generator).view(bits.shape)
        wrong = torch.rand(bits.shape, generator=generator, dtype=torch.float64) < self.bad_error_rate
        return bits ^ (bad & wrong).to(bits.device, bits.dtype)

    def bad_states(self, length: int, generator: torch.Generator) -> Tensor:
        """Which of `length` bits are sent in the bad state: bool `[length]`."""
        if self.bad_share in (0.0, 1.0):
            return torch.full((length,), self.bad_share == 1.0)
        good_length = self.burst_length * (1.0 - self.bad_share) / self.bad_share
        first_bad = bool(torch.rand((), generator=generator, dtype=torch.float64) < self.bad_share)
        means = (self.burst_length, good_length) if first_bad else (good_length, self.burst_length)
        pairs = int(length / sum(means)) + 16
        runs: list[Tensor] = []
        while sum(int(r.sum()) for r in runs) < length:
            runs.append(torch.stack([geometric(mean, pairs, generator) for mean in means], 1).flatten())
        stays = torch.cat(runs)
        states = (torch.arange(len(stays)) % 2 == 0) == first_bad
        return states.repeat_interleave(stays)[:length]


def geometric(mean: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` geometric lengths of at least 1 with the given mean, int64."""
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    if mean == 1.0:
        return torch.ones(count, dtype=torch.long)
    return (torch.log1p(-uniform) / math.log1p(-1.0 / mean)).floor().long() + 1
