"""Which bits of a codeword carry each digit of a code, for index maps that keep the digits apart."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from codec.channels.base import decide
from codec.quantizers.base import Quantizer
from codec.quantizers.codes import code_bits


class DigitBits(NamedTuple):
    """The bits of one digit.

    Attributes:
        positions: in the codeword, 0 for its high bit.
        values: bool `[L, m]`, the m bits of each of the digit's L values.
        place: the positions as a tensor; None for the list.
    """

    positions: list[int]
    values: Tensor
    place: Tensor | None = None

    def at(self, device: torch.device) -> "DigitBits":
        """The same with its tensors on a device, the positions as one of them (`place`) too."""
        return DigitBits(self.positions, self.values.to(device), torch.tensor(self.positions).to(device))

    def _of(self, bits: Tensor) -> Tensor:
        """The digit's bits `[..., m]` of a codeword's `[..., n]`."""
        return bits[..., self.positions] if self.place is None else bits.index_select(-1, self.place)

    def likelihoods(self, bits: Tensor) -> Tensor:
        """P(bits | value) `[..., L]` of received bits or probabilities `[..., n]` of a codeword."""
        ones = self._of(bits).unsqueeze(-2)  # [..., 1, m]
        return torch.where(self.values, ones, 1 - ones).prod(-1)

    def decide(self, bits: Tensor) -> tuple[Tensor, Tensor]:
        """Value nearest to received bits or probabilities `[..., n]`, int64 `[...]`, and bool, where a bit is lost."""
        decided, lost = decide(self._of(bits))
        differing = (decided.unsqueeze(-2).bool() ^ self.values).sum(-1)  # [..., L]
        return differing.argmin(-1), lost.any(-1)


def digit_bits(codewords: Sequence[Tensor], quantizer: Quantizer) -> list[list[DigitBits]] | None:
    """The bits of each digit of each codebook, the least significant digit first; None where digits share bits.

    A codebook with one digit always has them. With several, the codeword of a code must be the exclusive or of terms
    that depend on one digit each, and no bit may change with two digits.

    Args:
        codewords: of each codebook, int64 `[size]`; empty for natural binary.
        quantizer: whose digits are looked for.
    """
    found = []
    for k, (sizes, width) in enumerate(zip(quantizer.digits, code_bits(quantizer.codebook_sizes), strict=True)):
        digits = _of_codebook(codewords[k] if codewords else None, sizes, width)
        if digits is None:
            return None
        found.append(digits)
    return found


def _of_codebook(codewords: Tensor | None, sizes: Sequence[int], width: int) -> list[DigitBits] | None:
    place_value, terms, used = 1, [], 0
    zero = 0 if codewords is None else int(codewords[0])
    for size in sizes:
        codes = torch.arange(size) * place_value
        term = codes if codewords is None else codewords[codes]
        changing = int(_any_bit(term ^ zero))
        if used & changing:
            return None
        used |= changing
        positions = [position for position in range(width) if changing >> (width - 1 - position) & 1]
        shifts = torch.tensor([width - 1 - position for position in positions], dtype=torch.long)
        terms.append((term, DigitBits(positions, (term[:, None] >> shifts & 1).bool())))
        place_value *= size
    if len(sizes) > 1:
        if any(size & (size - 1) for size in sizes):
            return None
        if codewords is not None:
            combined = torch.tensor([zero])
            for term, _ in terms:
                combined = ((term ^ zero)[:, None] ^ combined).flatten()
            if not torch.equal(combined, codewords):
                return None
    return [digit for _, digit in terms]


def _any_bit(numbers: Tensor) -> int:
    """The bits that are one in any of the numbers."""
    found = 0
    for number in numbers.tolist():
        found |= number
    return found
