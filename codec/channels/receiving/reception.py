"""What a receiver knows of the codes that were sent, and what it offers to a concealment."""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from codec.channels.receiving.priors import CodePrior
from codec.quantizers.base import Quantizer


class Reception(NamedTuple):
    """Codes as received.

    Attributes:
        codes: hard decisions, int64 `[B, K, F]`; 0 where erased.
        erased: bool `[B, K, F]`; True where a bit of the codeword was lost, or the codeword stands for no code.
        bits: as received, `[B, F, n]`: uint8, or float32 probabilities of a one.
    """

    codes: Tensor
    erased: Tensor
    bits: Tensor


class Receiver(Protocol):
    """What a concealment needs of a receiver; `codec.channels.link.Connection` is one."""

    @property
    def quantizer(self) -> Quantizer:
        """Turns codes into latents."""

    @property
    def prior(self) -> CodePrior | None:
        """Measured probabilities of the codes; None for equally likely ones."""

    @property
    def keeps_digits_apart(self) -> bool:
        """Whether a codeword keeps the bits of its digits apart, so that `digit_likelihoods` has a value."""

    def digit_means(self, device: torch.device) -> list[list[Tensor]]:
        """P(value) `[1, 1, L]` of each digit of each codebook: the prior's, or equal."""

    def decode(self, codes: Tensor, erased: Tensor) -> Tensor:
        """Latents float32 `[B, D, F]` of codes int64 `[B, K, F]`, where an erased code contributes its mean."""

    def digit_likelihoods(self, bits: Tensor) -> list[list[Tensor]] | None:
        """P(bits | value) of each digit of each codebook, `[B, F, L]`; None where digits share bits."""

    def digit_decisions(self, bits: Tensor) -> list[list[tuple[Tensor, Tensor]]] | None:
        """Value `[B, F]` of each digit of each codebook, and where one of its bits is lost; None as above."""

    def code_probabilities(self, bits: Tensor) -> list[Tensor]:
        """P(code | bits) of each codebook, float32 `[B, F, size]`, for bits or probabilities `[B, F, n]`."""
