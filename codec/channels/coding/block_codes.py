"""Codes of short blocks: repetition and Hamming(7,4), decoded to exact posteriors of the bits sent."""

import math

import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.channels.coding.base import ErrorCorrection
from codec.errors import InvalidValue


class Repetition(ErrorCorrection):
    """Repetition code of rate 1 / `times`: every bit is sent `times` times in a row.

    The decoder sums the log-likelihood ratios of the copies, so for hard decisions the majority decides. A tie says
    nothing: the posterior is 0.5.

    >>> Repetition(3).encode(torch.tensor([[1, 0]], dtype=torch.uint8)).tolist()
    [[1, 1, 1, 0, 0, 0]]

    Args:
        times: copies of each bit.

    Raises:
        InvalidValue: `times` is below 1.
    """

    def __init__(self, times: int = 3) -> None:
        if times < 1:
            raise InvalidValue("times", times, "must be at least 1", "take 3")
        self.times, self.rate, self.name = times, 1.0 / times, f"repetition-{times}"

    def coded_length(self, length: int) -> int:
        return self.times * length

    def _encode(self, bits: Tensor) -> Tensor:
        return bits.repeat_interleave(self.times, 1)

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        return llrs.unflatten(1, (length, self.times)).sum(2)  # ∞ − ∞, a contradiction, is NaN


class Hamming74(ErrorCorrection):
    """The systematic (7,4) code, which corrects one error in seven bits (Hamming 1950).

    Four payload bits d are followed by the parities d1+d2+d4, d1+d3+d4 and d2+d3+d4 (mod 2); the last block is filled
    with zeros. The decoder sums the probabilities of the codewords with a zero and of those with a one at each payload
    bit, 16 in all and fewer in a block that was filled up.

    >>> Hamming74().encode(torch.tensor([[1, 0, 0, 0]], dtype=torch.uint8)).tolist()
    [[1, 0, 0, 0, 1, 1, 0]]
    """

    name = "hamming-7-4"
    rate = 4.0 / 7.0
    PARITIES = ((1, 1, 0, 1), (1, 0, 1, 1), (0, 1, 1, 1))

    def coded_length(self, length: int) -> int:
        return 7 * -(-length // 4)

    def ahead(self, bits: int | None) -> int:
        """2 (K − 1) for a block that spans at most K frames."""
        return 1 if bits is None else 2 * (-(-(4 + bits - math.gcd(4, bits)) // bits) - 1)

    def _encode(self, bits: Tensor) -> Tensor:
        blocks = pad(bits, (0, -bits.shape[1] % 4)).unflatten(1, (-1, 4))  # [B, blocks, 4]
        parities = [blocks[..., torch.tensor(taps).bool()].sum(-1, keepdim=True) % 2 for taps in self.PARITIES]
        return torch.cat([blocks, *parities], -1).to(torch.uint8).flatten(1)  # [B, 7 * blocks]

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        payloads = torch.arange(16, device=llrs.device)[:, None] >> torch.arange(3, -1, -1, device=llrs.device) & 1
        codewords = self._encode(payloads.to(torch.uint8)).bool()  # [16, 7]
        blocks = llrs.unflatten(1, (-1, 1, 7))  # [B, blocks, 1, 7]
        logs = torch.where(codewords, -blocks, blocks).clamp_max(0.0).sum(-1)  # [B, blocks, 16], up to a summand
        filled = 4 * blocks.shape[1] - length
        logs[:, -1, payloads[:, 4 - filled :].any(1)] = -math.inf
        ratios = [
            logs[..., payloads[:, place] == 0].logsumexp(-1) - logs[..., payloads[:, place] == 1].logsumexp(-1)
            for place in range(4)
        ]  # −∞ − (−∞), a contradiction, is NaN
        return torch.stack(ratios, -1).flatten(1)[:, :length]
