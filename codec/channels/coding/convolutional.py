"""Convolutional codes of rate 1/n, decoded by the BCJR algorithm (Bahl, Cocke, Jelinek, Raviv 1974)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.bcjr import bcjr
from codec.errors import InvalidValue

MESSAGES = 32  # decoded at a time: enough to amortise the cost of a step, few enough for the cache


class ConvolutionalCode(ErrorCorrection):
    """Convolutional code of rate 1/n that starts and ends in state zero, decoded by the BCJR algorithm.

    Channel bit j at step t is Σᵢ g_j,ᵢ · d_{t−i} (mod 2), i = 0 … K − 1, of payload bits d and generator g_j; K − 1
    zeros terminate the message, so N payload bits take n (N + K − 1) channel bits. The default has rate 1/2 and
    constraint length K = 7 (Odenwalder 1970; IEEE 802.11, 17.3.5.6).

    The decoder sums over all paths of the whole message, without a window, so it knows a bit only when all of the
    message has arrived. A live receiver need not wait so long: bits more than about five constraint lengths later
    change practically no decision (Proakis, "Digital Communications", section 8.2), which is 35 payload bits for K = 7.

    >>> ConvolutionalCode(["5", "7"]).encode(torch.tensor([[1]], dtype=torch.uint8)).tolist()
    [[1, 1, 0, 1, 1, 1]]

    Args:
        generators: n polynomials in octal digits; the highest bit belongs to the newest payload bit, and the longest
            polynomial sets K. Others of the largest free distance: ("5", "7") for K = 3, ("561", "753") for K = 9,
            ("133", "145", "175") for K = 7 and rate 1/3.

    Raises:
        InvalidValue: fewer than two generators, digits that are not octal, K outside 2 to 9, or generators with a
            common factor: such a code is catastrophic, as a few channel errors cause an unbounded number after
            decoding.
    """

    def __init__(self, generators: Sequence[str] = ("133", "171")) -> None:
        octal = all(isinstance(g, str) and g and set(g) <= set("01234567") for g in generators)
        taps = [int(g, 8) for g in generators] if octal else [0]
        if isinstance(generators, str) or len(taps) < 2 or not 2 <= max(taps).bit_length() <= 9 or min(taps) == 0:
            raise InvalidValue(
                f"generators {generators!r}",
                allowed="must be at least two strings of octal digits of constraint length 2 to 9",
                remedy='take ["133", "171"]',
            )
        common = 0
        for polynomial in taps:
            common = _common_factor(common, polynomial)
        if common != 1:
            raise InvalidValue(
                f"generators {generators!r}", allowed=f"have the common factor {common:o}", remedy="take others"
            )
        self.taps, self.memory = taps, max(taps).bit_length() - 1
        self.rate, self.name = 1.0 / len(taps), "-".join(["convolutional", *generators])

    def coded_length(self, length: int) -> int:
        return len(self.taps) * (length + self.memory)

    def _lags(self, polynomial: int) -> list[int]:
        """Delays of the payload bits that a generator adds, 0 for the newest."""
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

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        registers = torch.arange(2 << self.memory)  # the newest bit highest
        delayed = registers >> torch.arange(self.memory, -1, -1)[:, None] & 1  # [K, registers]
        outputs = torch.stack([delayed[self._lags(polynomial)].sum(0) % 2 for polynomial in self.taps])
        limit = 600.0 / (len(self.taps) * self.memory)  # 50 for K = 7 and rate 1/2
        steps = torch.where(llrs.isinf(), llrs, llrs.clamp(-limit, limit)).unflatten(1, (-1, len(self.taps)))
        ratios = [bcjr(part.cpu().numpy(), outputs.numpy()) for part in steps.split(MESSAGES)]
        return torch.from_numpy(np.concatenate(ratios)).to(llrs.device)


def _common_factor(left: int, right: int) -> int:
    """Greatest common divisor of two polynomials over GF(2), as bit masks."""
    while right:
        while left.bit_length() >= right.bit_length():
            left ^= right << (left.bit_length() - right.bit_length())
        left, right = right, left
    return left
