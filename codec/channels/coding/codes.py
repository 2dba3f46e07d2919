"""Forward error correction: repetition, Hamming(7,4) and convolutional codes, decoded to the most likely bits sent."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.channels.coding.viterbi import viterbi

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


class Repetition(ErrorCorrection):
    """Sends every bit `times` times in a row.

    The sum of log-likelihood ratios decides, a majority vote for hard decisions. A tie goes to the first copy that was
    not erased; so two copies of hard decisions are as good as one, and zeros and ones err alike.

    Raises:
        ValueError: `times` is below 1.
    """

    def __init__(self, times: int = 3) -> None:
        if times < 1:
            raise ValueError(f"times {times} must be at least 1, for example 3.")
        self.times, self.rate, self.name = times, 1.0 / times, f"repetition-{times}"

    def coded_length(self, length: int) -> int:
        return self.times * length

    def _encode(self, bits: Tensor) -> Tensor:
        return bits.repeat_interleave(self.times, 1)

    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        copies = llrs.unflatten(1, (length, self.times))  # [B, N, times]
        first = copies.gather(2, (copies != 0).int().argmax(2, keepdim=True))[..., 0]
        total = copies.sum(2)
        return (torch.where(total == 0, first, total) < 0).to(torch.uint8)

    def _reached(self, known: Tensor, length: int) -> Tensor:
        return known.unflatten(1, (length, self.times)).any(2)


class Hamming74(ErrorCorrection):
    """The systematic (7,4) code, which corrects one error in seven bits (Hamming 1950).

    Four payload bits d are followed by the parities d1+d2+d4, d1+d3+d4 and d2+d3+d4; zeros fill the last block. The
    best of the 16 codewords decides: of hard decisions the one within distance 1 (the code is perfect, so this is
    syndrome decoding), of probabilities the most likely, a tie going to the smaller word.
    """

    name = "hamming-7-4"
    rate = 4.0 / 7.0
    PARITIES = ((1, 1, 0, 1), (1, 0, 1, 1), (0, 1, 1, 1))

    def coded_length(self, length: int) -> int:
        return 7 * -(-length // 4)

    def _encode(self, bits: Tensor) -> Tensor:
        words = pad(bits, (0, -bits.shape[1] % 4)).unflatten(1, (-1, 4))
        parities = [words[..., torch.tensor(taps).bool()].sum(-1, keepdim=True) % 2 for taps in self.PARITIES]
        return torch.cat([words, *parities], -1).to(torch.uint8).flatten(1)  # [B, 7 * blocks]

    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        words = torch.arange(16, device=llrs.device)[:, None] >> torch.arange(3, -1, -1, device=llrs.device) & 1
        codewords = self._encode(words.to(torch.uint8)).to(llrs.dtype)  # [16, 7]
        best = (llrs.unflatten(1, (-1, 7)) @ codewords.T).argmin(-1)  # [B, blocks], the least sum of ratios of ones
        return words[best].flatten(1)[:, :length].to(torch.uint8)

    def _reached(self, known: Tensor, length: int) -> Tensor:
        heard = known.unflatten(1, (-1, 7))  # [B, blocks, 7]
        uses = torch.cat([torch.eye(4), torch.tensor(self.PARITIES).float()]).to(known.device)  # [7, 4]
        return (heard.float() @ uses > 0).flatten(1)[:, :length]


class ConvolutionalCode(ErrorCorrection):
    """A convolutional code that starts and ends in state zero, decoded by the Viterbi algorithm (Viterbi 1967).

    The whole message decides, without a window: of hard decisions the codeword at the least distance, of probabilities
    the most likely. K − 1 zeros end the message. The default has rate 1/2 and constraint length K = 7 (Odenwalder 1970;
    IEEE 802.11, 17.3.5.6).

    Args:
        generators: polynomials in octal digits, one for each channel bit that is sent per payload bit; the highest bit
            weighs the newest payload bit, and the longest polynomial sets K. Others of the largest free distance:
            ("5", "7") for K = 3, ("561", "753") for K = 9, ("133", "145", "175") for K = 7 and rate 1/3.

    Raises:
        ValueError: fewer than two generators, digits that are not octal, K outside 2 to 9, or generators with a common
            factor, with which a few errors on the channel cause endless ones after decoding.
    """

    def __init__(self, generators: Sequence[str] = ("133", "171")) -> None:
        octal = all(isinstance(g, str) and g and set(g) <= set("01234567") for g in generators)
        taps = [int(g, 8) for g in generators] if octal else [0]
        if isinstance(generators, str) or len(taps) < 2 or not 2 <= max(taps).bit_length() <= 9 or min(taps) == 0:
            raise ValueError(
                f"generators {generators!r} must be at least two strings of octal digits of constraint length 2 to 9, "
                'for example ["133", "171"].'
            )
        common = 0
        for polynomial in taps:
            common = _common_factor(common, polynomial)
        if common != 1:
            raise ValueError(f"generators {generators!r} have the common factor {common:o}; take others.")
        self.taps, self.memory = taps, max(taps).bit_length() - 1
        self.rate, self.name = 1.0 / len(taps), "-".join(["convolutional", *generators])

    def coded_length(self, length: int) -> int:
        return len(self.taps) * (length + self.memory)

    def _lags(self, polynomial: int) -> list[int]:
        """Ages of the payload bits that a generator adds, 0 for the newest."""
        return [lag for lag in range(self.memory + 1) if polynomial >> (self.memory - lag) & 1]

    def _encode(self, bits: Tensor) -> Tensor:
        steps = bits.shape[1] + self.memory
        history = pad(bits, (self.memory, self.memory))
        streams = []
        for polynomial in self.taps:
            stream = torch.zeros_like(history[:, :steps])
            for lag in self._lags(polynomial):
                stream ^= history[:, self.memory - lag :][:, :steps]
            streams.append(stream)
        return torch.stack(streams, 2).flatten(1)  # [B, steps * generators]

    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        registers = torch.arange(2 << self.memory)  # the newest bit highest
        ages = registers >> torch.arange(self.memory, -1, -1)[:, None] & 1  # [K, registers]
        outputs = torch.stack([ages[self._lags(polynomial)].sum(0) % 2 for polynomial in self.taps])
        steps = llrs.unflatten(1, (-1, len(self.taps))).cpu().numpy()
        best = viterbi(steps, outputs.double().numpy())[:, :length]
        return torch.from_numpy(np.ascontiguousarray(best)).to(llrs.device)

    def _reached(self, known: Tensor, length: int) -> Tensor:
        steps = known.unflatten(1, (-1, len(self.taps)))
        lags = [(j, lag) for j, polynomial in enumerate(self.taps) for lag in self._lags(polynomial)]
        return torch.stack([steps[:, lag : lag + length, j] for j, lag in lags]).any(0)


def _common_factor(left: int, right: int) -> int:
    """Greatest common divisor of two polynomials over GF(2), as bit masks."""
    while right:
        while left.bit_length() >= right.bit_length():
            left ^= right << (left.bit_length() - right.bit_length())
        left, right = right, left
    return left
