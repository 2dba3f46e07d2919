"""The contract of forward error correction: bits to protected bits, and back to the most likely bits sent."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

LLR_LIMIT = 16.0  # a float32 probability near one tells nothing finer than 2^-24, a log-likelihood ratio of 16.6


class ErrorCorrection(ABC):
    """Adds redundancy to bits and removes errors with it.

    Attributes:
        name: code and parameters, unique among settings ("hamming-7-4").
        rate: payload bits per channel bit of a long message, without termination and padding.
    """

    name: str
    rate: float

    @abstractmethod
    def coded_length(self, length: int) -> int:
        """Channel bits that carry `length` payload bits."""

    @abstractmethod
    def _encode(self, bits: Tensor) -> Tensor:
        """uint8 `[B, N]` to uint8 `[B, coded_length(N)]`."""

    @abstractmethod
    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        """uint8 `[B, length]` payload from float64 `[B, M]`, log P(0)/P(1) of the channel bits."""

    @abstractmethod
    def _reached(self, known: Tensor, length: int) -> Tensor:
        """bool `[B, length]`: payload bits on which a channel bit depends that is `known`, bool `[B, M]`."""

    def encode(self, bits: Tensor) -> Tensor:
        """Protect bits.

        Args:
            bits: uint8 `[B, N]` of zeros and ones, N at least 1; each row is a message of its own.

        Returns:
            uint8 `[B, coded_length(N)]`.

        Raises:
            ValueError: wrong shape, dtype or values.
        """
        if bits.ndim != 2 or bits.shape[1] < 1 or bits.dtype != torch.uint8 or bool((bits > 1).any()):
            raise ValueError(f"bits of shape {list(bits.shape)} and {bits.dtype} must be uint8 zeros and ones [B, N].")
        return self._encode(bits)

    def decode(self, received: Tensor, length: int) -> Tensor:
        """Recover the payload.

        Args:
            received: `[B, coded_length(length)]`, hard decisions (uint8 zeros and ones) or probabilities (floating
                point, in [0, 1]) that each channel bit is a one, where exactly 0.5 is an erasure.
            length: N, payload bits a row.

        Returns:
            `[B, N]`: uint8 where every bit is decided; otherwise float32, with exactly 0.5 for the bits of which all
            channel bits that depend on them are erased, and 0 or 1 elsewhere.

        Raises:
            ValueError: a length that does not fit, or values out of range.
        """
        if length < 1 or received.ndim != 2 or received.shape[1] != self.coded_length(length):
            raise ValueError(
                f"received bits of shape {list(received.shape)} must be [B, {self.coded_length(length)}] for "
                f"{length} payload bits, at least 1."
            )
        if received.is_floating_point():
            decided = self._most_likely(log_likelihood_ratios(received), length)
            reached = self._reached(received != 0.5, length)
            return decided if bool(reached.all()) else decided.float().masked_fill(~reached, 0.5)
        if received.dtype != torch.uint8 or bool((received > 1).any()):
            raise ValueError(f"hard decisions of {received.dtype} must be uint8 zeros and ones; pass others as floats.")
        return self._most_likely(1.0 - 2.0 * received.double(), length)


def log_likelihood_ratios(probabilities: Tensor) -> Tensor:
    """log P(0)/P(1) in float64 from probabilities of a one, any shape; within ±16, and exactly 0 for exactly 0.5.

    Raises:
        ValueError: a value outside [0, 1] or not a number.
    """
    if not bool(((probabilities >= 0.0) & (probabilities <= 1.0)).all()):
        raise ValueError(
            f"probabilities from {probabilities.min().item():g} to {probabilities.max().item():g} must lie in [0, 1]."
        )
    return (-torch.logit(probabilities.double(), eps=2.0**-24)).clamp(-LLR_LIMIT, LLR_LIMIT)
