"""Codes of short blocks: repetition and Hamming(7,4), decoded to the most likely bits sent."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.channels.coding.base import ErrorCorrection
from codec.errors import InvalidValue


class Repetition(ErrorCorrection):
    """Repetition code of rate 1 / `times`: every bit is sent `times` times in a row.

    The decoder takes the sign of the summed log-likelihood ratios, which for hard decisions is a majority vote. A tie
    is decided by the first copy that was not erased: the error rate is then the same for zeros and ones, and two
    copies of hard decisions are as good as one.

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

    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        copies = llrs.unflatten(1, (length, self.times))  # [B, N, times]
        first = copies.gather(2, (copies != 0).int().argmax(2, keepdim=True))[..., 0]
        total = copies.sum(2)
        return (torch.where(total == 0, first, total) < 0).to(torch.uint8)

    def _observed(self, known: Tensor, length: int) -> Tensor:
        return known.unflatten(1, (length, self.times)).any(2)


class Hamming74(ErrorCorrection):
    """The systematic (7,4) code, which corrects one error in seven bits (Hamming 1950).

    Four payload bits d are followed by the parities d1+d2+d4, d1+d3+d4 and d2+d3+d4 (mod 2); the last block is filled
    with zeros. The decoder compares all 16 codewords. For hard decisions it takes the one within distance 1, which
    exists because the code is perfect; for probabilities the most likely one, and of equally likely ones that of the
    smaller payload as a binary number.

    >>> Hamming74().encode(torch.tensor([[1, 0, 0, 0]], dtype=torch.uint8)).tolist()
    [[1, 0, 0, 0, 1, 1, 0]]
    """

    name = "hamming-7-4"
    rate = 4.0 / 7.0
    PARITIES = ((1, 1, 0, 1), (1, 0, 1, 1), (0, 1, 1, 1))

    def coded_length(self, length: int) -> int:
        return 7 * -(-length // 4)

    def _encode(self, bits: Tensor) -> Tensor:
        blocks = pad(bits, (0, -bits.shape[1] % 4)).unflatten(1, (-1, 4))  # [B, blocks, 4]
        parities = [blocks[..., torch.tensor(taps).bool()].sum(-1, keepdim=True) % 2 for taps in self.PARITIES]
        return torch.cat([blocks, *parities], -1).to(torch.uint8).flatten(1)  # [B, 7 * blocks]

    def _most_likely(self, llrs: Tensor, length: int) -> Tensor:
        payloads = torch.arange(16, device=llrs.device)[:, None] >> torch.arange(3, -1, -1, device=llrs.device) & 1
        codewords = self._encode(payloads.to(torch.uint8)).to(llrs.dtype)  # [16, 7]
        # A codeword is the more likely, the smaller the sum of the log-likelihood ratios of its ones.
        best = (llrs.unflatten(1, (-1, 7)) @ codewords.T).argmin(-1)  # [B, blocks]
        return payloads[best].flatten(1)[:, :length].to(torch.uint8)

    def _observed(self, known: Tensor, length: int) -> Tensor:
        blocks = known.unflatten(1, (-1, 7))  # [B, blocks, 7]
        generator = torch.cat([torch.eye(4), torch.tensor(self.PARITIES).float()]).to(known.device)  # [7, 4]
        return (blocks.float() @ generator > 0).flatten(1)[:, :length]
