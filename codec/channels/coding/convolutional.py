"""Convolutional codes, also punctured, decoded by the BCJR algorithm (Bahl, Cocke, Jelinek, Raviv 1974)."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.bcjr import bcjr
from codec.errors import InvalidValue

MESSAGES = 32  # decoded at a time: enough to amortise the cost of a step, few enough for the cache
SYSTEMATIC_MESSAGES = 4  # the decoder then holds all states of all steps


class ConvolutionalCode(ErrorCorrection):
    """Convolutional code of rate 1/n, or more by puncturing, that starts and ends in state zero, decoded by BCJR.

    Channel bit j at step t is Σᵢ g_j,ᵢ · d_{t−i} (mod 2), i = 0 … K − 1, of payload bits d and generator g_j; K − 1
    zeros terminate the message, so N payload bits take n (N + K − 1) channel bits. The default has rate 1/2 and
    constraint length K = 7 (Odenwalder 1970; IEEE 802.11, 17.3.5.6).

    A systematic code has the same codewords, but its first channel bit of a step is the payload bit itself: the encoder
    is recursive, with the first generator as its feedback, and K − 1 bits of its own choice end the message. Where
    the channel is better than the code needs, both do much the same; where it is worse, as when half of the frames are
    lost, a systematic code still delivers the payload bits that arrive.

    The decoder sums over all paths of the whole message, without a window, so it knows a bit only when all of the
    message has arrived. A live receiver need not wait so long: bits more than about five constraint lengths later
    change practically no decision (Proakis, "Digital Communications", section 8.2), which is 35 payload bits for K = 7.

    A punctured code leaves channel bits out, in a pattern that repeats every P steps: rates between 1 / n and 1 by one
    decoder, to which bits not sent are erased. Codes whose patterns contain each other are rate-compatible (Hagenauer
    1988, who lists patterns of P = 8). Termination is punctured alike. A pattern may make a code catastrophic, which is
    not looked for: take published ones, such as ("11", "10") of the default for 2/3 and ("110", "101") for 3/4.

    >>> ConvolutionalCode(["5", "7"]).encode(torch.tensor([[1]], dtype=torch.uint8)).tolist()
    [[1, 1, 0, 1, 1, 1]]

    Args:
        generators: n polynomials in octal digits; the highest bit belongs to the newest payload bit, and the longest
            polynomial sets K. Others of the largest free distance: ("5", "7") for K = 3, ("561", "753") for K = 9,
            ("133", "145", "175") for K = 7 and rate 1/3.
        systematic: send the payload bits themselves, in place of the first generator's.
        puncture: for each generator, P digits, 1 where its channel bit is sent: ("11", "10") is rate 2/3 from rate 1/2.
            Every step sends one bit or more, and every generator takes part.

    Raises:
        InvalidValue: an impossible puncturing pattern, fewer than two generators, digits that are not octal, K outside
            2 to 9, generators with a common factor (such a code is catastrophic, as a few channel errors cause an
            unbounded number after decoding), or a systematic code whose first generator is shorter than K.
    """

    def __init__(
        self,
        generators: Sequence[str] = ("133", "171"),
        *,
        systematic: bool = False,
        puncture: Sequence[str] | None = None,
    ) -> None:
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
        if systematic and not taps[0] >> self.memory & 1:
            allowed = f"must begin with one of the constraint length {self.memory + 1} for a systematic code"
            raise InvalidValue(f"generators {generators!r}", allowed=allowed, remedy="put the longest first")
        self.systematic = systematic
        kind = "systematic-convolutional" if systematic else "convolutional"
        self.rate, self.name = 1.0 / len(taps), "-".join([kind, *generators])
        self.pattern: Tensor | None = None
        if puncture is not None:
            self.pattern = _puncturing(puncture, len(taps))  # [P, n]
            self.rate = len(self.pattern) / int(self.pattern.sum())
            self.name = "-".join([self.name, "punctured", *puncture])

    def ahead(self, bits: int | None) -> int:
        """Those of the tail of K − 1 steps, which is spread over all rows."""
        return 1 if bits is None else -(-self.memory // bits)

    def coded_length(self, length: int) -> int:
        steps = length + self.memory
        if self.pattern is None:
            return len(self.taps) * steps
        periods, rest = divmod(steps, len(self.pattern))
        return periods * int(self.pattern.sum()) + int(self.pattern[:rest].sum())

    def _sent(self, steps: int) -> Tensor:
        """Which channel bits of the unpunctured code are sent: bool `[steps * generators]`."""
        if self.pattern is None:
            return torch.ones(steps * len(self.taps), dtype=torch.bool)
        return self.pattern.repeat(-(-steps // len(self.pattern)), 1)[:steps].flatten()

    def _lags(self, polynomial: int) -> list[int]:
        """Delays of the payload bits that a generator adds, 0 for the newest."""
        return [lag for lag in range(self.memory + 1) if polynomial >> (self.memory - lag) & 1]

    def _encode(self, bits: Tensor) -> Tensor:
        steps = bits.shape[1] + self.memory
        inputs = self._inputs(bits) if self.systematic else bits
        history = pad(inputs, (self.memory, self.memory))
        streams = []
        for polynomial in self.taps:
            stream = torch.zeros_like(history[:, :steps])
            for lag in self._lags(polynomial):
                stream ^= history[:, self.memory - lag :][:, :steps]
            streams.append(stream)
        return torch.stack(streams, 2).flatten(1)[:, self._sent(steps).to(bits.device)]  # [B, M]

    def _inputs(self, bits: Tensor) -> Tensor:
        """Register inputs of a systematic encoder `[B, N]`, for which the first generator gives the payload bits."""
        feedback = self.taps[0] & (1 << self.memory) - 1
        rows = []
        for row in bits.cpu().tolist():
            state, inputs = 0, []
            for bit in row:
                new = bit ^ (state & feedback).bit_count() & 1
                inputs.append(new)
                state = (new << self.memory | state) >> 1
            rows.append(inputs)
        return torch.tensor(rows, dtype=bits.dtype, device=bits.device).view(bits.shape)

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        registers = torch.arange(2 << self.memory)  # the newest bit highest
        delayed = registers >> torch.arange(self.memory, -1, -1)[:, None] & 1  # [K, registers]
        outputs = torch.stack([delayed[self._lags(polynomial)].sum(0) % 2 for polynomial in self.taps])
        if self.pattern is not None:  # of what was not sent nothing is known
            sent = self._sent(length + self.memory).to(llrs.device)
            llrs = llrs.new_zeros(len(llrs), len(sent)).masked_scatter(sent, llrs)
        limit = 600.0 / (len(self.taps) * self.memory)  # 50 for K = 7 and rate 1/2
        steps = torch.where(llrs.isinf(), llrs, llrs.clamp(-limit, limit)).unflatten(1, (-1, len(self.taps)))
        labels = outputs[0].numpy() if self.systematic else None
        parts = steps.split(SYSTEMATIC_MESSAGES if self.systematic else MESSAGES)
        ratios = [bcjr(part.cpu().numpy(), outputs.numpy(), labels) for part in parts]
        return torch.from_numpy(np.concatenate(ratios)).to(llrs.device)


def _puncturing(patterns: Sequence[str], streams: int) -> Tensor:
    """Patterns of zeros and ones as bool `[P, n]`, True where a channel bit is sent."""
    digits = all(isinstance(pattern, str) and pattern and set(pattern) <= set("01") for pattern in patterns)
    lengths = {len(pattern) for pattern in patterns}
    if isinstance(patterns, str) or not digits or len(patterns) != streams or len(lengths) != 1:
        allowed = f"must be {streams} strings of zeros and ones, equally long"
        raise InvalidValue(f"puncture {patterns!r}", allowed=allowed, remedy='take ["11", "10"] for two generators')
    sent = torch.tensor([[digit == "1" for digit in pattern] for pattern in patterns]).T  # [P, n]
    if not bool(sent.any(1).all()) or not bool(sent.any(0).all()):
        raise InvalidValue(
            f"puncture {patterns!r}", allowed="must send a bit in every step, and one of every generator at least"
        )
    return sent


def _common_factor(left: int, right: int) -> int:
    """Greatest common divisor of two polynomials over GF(2), as bit masks."""
    while right:
        while left.bit_length() >= right.bit_length():
            left ^= right << (left.bit_length() - right.bit_length())
        left, right = right, left
    return left
