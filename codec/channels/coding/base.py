"""The contract of forward error correction: bits to protected bits, and back to posterior probabilities of the bits."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor

from codec.channels.base import check_share, uncertain
from codec.errors import InvalidValue
from codec.layers.construction import Constructed

DEFAULT_ERROR_RATE = 0.05  # of hard decisions whose channel is unknown
NEGLIGIBLE = 1e-7  # a smaller log-likelihood ratio is a tie up to rounding; float32 probabilities resolve about as much


class ErrorCorrection(Constructed, ABC):
    """An error-correcting code: adds redundancy to bits, and decodes what was received to bitwise posteriors.

    A subclass sets the attributes and implements the three abstract methods; `encode` and `decode` check their inputs.

    Attributes:
        name: code and parameters, unique among settings ("hamming-7-4").
        rate: payload bits per channel bit of a long message, without termination and padding.
        symbol_bits: channel bits that belong together, as those of a symbol of a Reed–Solomon code, and travel in the
            same row; the number of channel bits is a multiple of it.
        block_bits: payload bits of a block, the largest if they differ, before whose end nothing is decoded; None
            for codes that are decoded as bits arrive.
        period: payload bits after which the treatment of bits repeats, a frame if each of its bits has its own code.
    """

    name: str
    rate: float
    symbol_bits: int = 1
    block_bits: int | None = None
    period: int = 1

    @abstractmethod
    def coded_length(self, length: int) -> int:
        """Channel bits that carry `length` payload bits."""

    @abstractmethod
    def _encode(self, bits: Tensor) -> Tensor:
        """Encode payload bits uint8 `[B, N]` to channel bits uint8 `[B, coded_length(N)]`."""

    @abstractmethod
    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        """Log-likelihood ratios of the payload bits, summed over all payloads, which are equally likely.

        Args:
            llrs: log P(0)/P(1) of the channel bits, float64 `[B, M]`; ±∞ for bits received with certainty.
            length: N, payload bits a row.

        Returns:
            float64 `[B, N]`: log P(0)/P(1); ±∞ exactly where the certain channel bits leave one value, and NaN at one
            bit or more of a row in which they contradict each other.
        """

    def order(self, length: int) -> tuple[Tensor, Tensor]:
        """When channel bits can be sent and payload bits be decoded, for the delay: by default, in proportion.

        Args:
            length: N, payload bits.

        Returns:
            The last payload bit on which each channel bit depends, int64 `[M]`, and the last channel bit that each
            payload bit's decoding waits for, int64 `[N]`, without the look-ahead of codes without blocks.
        """
        coded = self.coded_length(length)
        last = ((torch.arange(length) + 1) / self.rate).ceil().long().clamp(max=coded) - 1
        return (torch.arange(coded) * self.rate).long().clamp(max=length - 1), last

    def ahead(self, bits: int | None) -> int:
        """Frames by which rows run ahead of frames, `bits` of each being coded (None: not known), for the delay.

        Of a code whose tail or blocks do not end with a frame; 0 for one whose coded bits are those of the frame.
        """
        return int(self.coded_length(2 * self.period) != 2 * self.coded_length(self.period))

    def fitted(self, sensitivities: Callable[[], Tensor]) -> "ErrorCorrection":
        """The code for the frames of one codec; most codes are the same for all.

        Args:
            sensitivities: gives how much a flip of each protected bit of a frame matters, float64 `[n]`.
        """
        return self

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

    def decode(self, received: Tensor, length: int, *, error_rate: float | None = None) -> Tensor:
        """Posterior probability of each payload bit given its row, for payloads that are equally likely (log-MAP).

        If bits received with certainty contradict each other, some of them must be wrong, though unmarked: the row is
        then decoded as if they were hard decisions of error rate `DEFAULT_ERROR_RATE`, and nothing in it is certain.

        Args:
            received: `[B, coded_length(length)]`, hard decisions (uint8 zeros and ones) or probabilities (floating
                point, in [0, 1]) that each channel bit is a one. Exactly 0.5 is an erasure, exactly 0 or 1 is certain.
            length: N, payload bits a row.
            error_rate: p, share of hard decisions that are wrong, in [0, 1]; 0 or 1 is certain. None stands for
                `DEFAULT_ERROR_RATE`. Without effect on probabilities.

        Returns:
            `[B, N]`: float32 probabilities of a one. Exactly 0.5 where the received bits say nothing about the bit or
            both values equally; exactly 0 or 1 only where the bit follows with certainty from bits received with
            certainty. If that holds for all bits of the call, they are uint8.

        Raises:
            InvalidValue: a length that does not fit, or values out of range.
        """
        if length < 1 or received.ndim != 2 or received.shape[1] != self.coded_length(length):
            allowed = f"must be [B, {self.coded_length(length)}] for {length} payload bits, at least 1"
            raise InvalidValue("received bits of shape", list(received.shape), allowed)
        if received.is_floating_point():
            llrs = log_likelihood_ratios(received)
        elif received.dtype == torch.uint8 and not bool((received > 1).any()):
            llrs = _hard_ratios(received, DEFAULT_ERROR_RATE if error_rate is None else error_rate)
        else:
            raise InvalidValue(
                f"hard decisions of {received.dtype}",
                allowed="must be uint8 zeros and ones",
                remedy="pass probabilities as floats",
            )
        posterior = self._payload_llrs(llrs, length)
        contradictory = posterior.isnan().any(1)
        if bool(contradictory.any()):
            rows = llrs[contradictory]
            rows = torch.where(rows.isinf(), _hard_ratios((rows < 0).to(torch.uint8), DEFAULT_ERROR_RATE), rows)
            posterior[contradictory] = self._payload_llrs(rows, length)
        if bool(posterior.isinf().all()):
            return (posterior < 0).to(torch.uint8)
        return probabilities_of_ones(posterior)


def log_likelihood_ratios(probabilities: Tensor) -> Tensor:
    """log P(0)/P(1) in float64 from probabilities of a one, of any shape.

    0 for exactly 0.5, ±∞ for exactly 1 and 0. Others are clamped to the ratio of the largest probability below one of
    their dtype, ±16.6 for float32, so that zeros and ones are resolved alike.

    Raises:
        InvalidValue: a value outside [0, 1] or not a number.
    """
    if not bool(((probabilities >= 0.0) & (probabilities <= 1.0)).all()):
        extremes = f"from {probabilities.min().item():g} to {probabilities.max().item():g}"
        raise InvalidValue("probabilities", extremes, "must lie in [0, 1]")
    limit = math.log(2.0 / torch.finfo(probabilities.dtype).eps - 1.0)
    ratios = -torch.logit(probabilities.double())
    return torch.where(ratios.isinf(), ratios, ratios.clamp(-limit, limit))


def probabilities_of_ones(llrs: Tensor) -> Tensor:
    """float32 probabilities of a one from log P(0)/P(1), of any shape: the inverse of `log_likelihood_ratios`.

    Exactly 0 or 1 for ±∞ alone: what would be rounded to them takes the nearest normal number inside (0, 1). Exactly
    0.5 for ratios below `NEGLIGIBLE`.
    """
    inside = uncertain(torch.sigmoid(-llrs).float()).masked_fill(llrs.abs() < NEGLIGIBLE, 0.5)
    return torch.where(llrs.isinf(), (llrs < 0).float(), inside)


def _hard_ratios(bits: Tensor, error_rate: float) -> Tensor:
    """log P(0)/P(1), float64, of hard decisions: ±log((1 − p) / p), infinite for p = 0 and 1."""
    share = torch.tensor(check_share("error_rate", error_rate), dtype=torch.float64)
    return log_likelihood_ratios(share).to(bits.device) * (1.0 - 2.0 * bits.double())
