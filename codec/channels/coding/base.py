"""The contract of forward error correction: bits to protected bits, and back to the most likely bits sent."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.errors import InvalidValue

LLR_LIMIT = 16.0  # a float32 probability near one has a resolution of 2^-24, a log-likelihood ratio of 16.6


class ErrorCorrection(ABC):
    """An error-correcting code: adds redundancy to bits, and decodes what was received to the most likely payload.

    A subclass sets the attributes and implements the four abstract methods; `encode` and `decode` check their inputs.

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
        """Encode payload bits uint8 `[B, N]` to channel bits uint8 `[B, coded_length(N)]`."""

    @abstractmethod
    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        """Most likely payload, uint8 `[B, length]`, from log P(0)/P(1) of the channel bits, float64 `[B, M]`."""

    @abstractmethod
    def _observed(self, known: Tensor, length: int) -> Tensor:
        """Payload bits on which at least one channel bit of `known` (bool `[B, M]`) depends: bool `[B, length]`."""

    def encode(self, bits: Tensor) -> Tensor:
        """Protect bits.

        Args:
            bits: uint8 `[B, N]` of zeros and ones, N at least 1; each row is a message of its own.

        Returns:
            uint8 `[B, coded_length(N)]`.

        Raises:
            InvalidValue: wrong shape, dtype or values.
        """
        if bits.ndim != 2 or bits.shape[1] < 1 or bits.dtype != torch.uint8 or bool((bits > 1).any()):
            raise InvalidValue(
                f"bits of shape {list(bits.shape)} and {bits.dtype}", allowed="must be uint8 zeros and ones [B, N]"
            )
        return self._encode(bits)

    def decode(self, received: Tensor, length: int) -> Tensor:
        """Decode each row to the payload of greatest likelihood.

        Args:
            received: `[B, coded_length(length)]`, hard decisions (uint8 zeros and ones) or probabilities (floating
                point, in [0, 1]) that each channel bit is a one, where exactly 0.5 is an erasure.
            length: N, payload bits a row.

        Returns:
            `[B, N]`: uint8 if every bit is decided. Otherwise float32, with exactly 0.5 for payload bits whose channel
            bits are all erased, and 0 or 1 elsewhere.

        Raises:
            InvalidValue: a length that does not fit, or values out of range.
        """
        if length < 1 or received.ndim != 2 or received.shape[1] != self.coded_length(length):
            allowed = f"must be [B, {self.coded_length(length)}] for {length} payload bits, at least 1"
            raise InvalidValue("received bits of shape", list(received.shape), allowed)
        if received.is_floating_point():
            decided = self._most_likely(log_likelihood_ratios(received), length)
            observed = self._observed(received != 0.5, length)
            return decided if bool(observed.all()) else decided.float().masked_fill(~observed, 0.5)
        if received.dtype != torch.uint8 or bool((received > 1).any()):
            raise InvalidValue(
                f"hard decisions of {received.dtype}",
                allowed="must be uint8 zeros and ones",
                remedy="pass probabilities as floats",
            )
        return self._most_likely(1.0 - 2.0 * received.double(), length)


def log_likelihood_ratios(probabilities: Tensor) -> Tensor:
    """log P(0)/P(1) in float64 from probabilities of a one, of any shape; clamped to ±16, and 0 for exactly 0.5.

    Raises:
        InvalidValue: a value outside [0, 1] or not a number.
    """
    if not bool(((probabilities >= 0.0) & (probabilities <= 1.0)).all()):
        extremes = f"from {probabilities.min().item():g} to {probabilities.max().item():g}"
        raise InvalidValue("probabilities", extremes, "must lie in [0, 1]")
    return (-torch.logit(probabilities.double(), eps=2.0**-24)).clamp(-LLR_LIMIT, LLR_LIMIT)
