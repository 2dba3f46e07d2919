"""Index assignment: which binary codeword stands for which code (natural, Gray, permuted, binary switching)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.errors import InvalidValue
from codec.quantizers.base import LARGEST_TABLE, Quantizer
from codec.quantizers.codes import code_bits


class IndexMap(ABC):
    """Assigns a binary codeword to each code of each codebook.

    A codebook of `size` codes has codewords of b = ⌈log2(size)⌉ bits, read as numbers 0 … 2^b − 1 with the high bit
    first. Where `size` is no power of two, some codewords stand for no code; a receiver takes them as erasures.

    Attributes:
        name: shown in tables and figures.
    """

    name: str

    @abstractmethod
    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        """Codeword of each code: int64 `[size]`, different numbers below 2^b.

        Raises:
            InvalidValue: the map does not fit the codebook.
        """

    def codeword_table(self, quantizer: Quantizer, codebook: int) -> Tensor:
        """`codewords`, refused for a codebook whose table would be too large.

        Raises:
            InvalidValue: a codebook of more than 2^20 codes, or one that the map does not fit.
        """
        size = quantizer.codebook_sizes[codebook]
        if size > LARGEST_TABLE:
            raise InvalidValue(
                f"{self.name} map: a codebook of {size} codes", allowed=f"is too large, a table holds {LARGEST_TABLE}"
            )
        return self.codewords(quantizer, codebook)


class NaturalMap(IndexMap):
    """The code itself in binary, as in NeuCodec (section 3.4)."""

    name = "natural"

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        return torch.arange(quantizer.codebook_sizes[codebook])


class GrayMap(IndexMap):
    """Neighbours differ in one bit: a reflected Gray code (Gray 1953), g = d xor ⌊d / 2⌋, of each digit d of the code.

    FSQ's digits are its levels, so a step to the next level of a dimension is one bit flip. A learned codebook has a
    single digit, and the order of its entries means nothing. Digits must be powers of two.
    """

    name = "Gray"

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        digits = quantizer.digits[codebook]
        if any(size & (size - 1) for size in digits):
            raise InvalidValue("Gray map: digits", list(digits), "must each be a power of two", "take [4, 4, 4, 4]")
        code = torch.arange(quantizer.codebook_sizes[codebook])
        codeword, place_value = torch.zeros_like(code), 1
        for size in digits:
            digit = code // place_value % size
            codeword += (digit ^ (digit >> 1)) * place_value
            place_value *= size
        return codeword


class PermutedMap(IndexMap):
    """A random codeword for each code: the control without any relation between codewords and FSQ's levels.

    Args:
        seed: of the permutation.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.name = seed, f"permuted-{seed}" if seed else "permuted"

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + codebook)
        count = 2 ** code_bits(quantizer.codebook_sizes)[codebook]
        return torch.randperm(count, generator=generator)[: quantizer.codebook_sizes[codebook]]


class BinarySwitchingMap(IndexMap):
    """Pseudo-Gray coding of a learned codebook: the binary switching algorithm (Zeger and Gersho 1990).

    Pairs of codewords are exchanged as long as that lowers Σᵢ Σⱼ ‖eᵢ − eⱼ‖², the sum over codes i and the codes j whose
    codeword is one bit flip away. Codes are taken as equally likely, and codewords without a code add nothing. The
    search starts from the natural order, draws nothing at random, and ends in a local optimum.

    Args:
        rounds: largest number of passes over all codes.

    `codewords` raises InvalidValue for a codebook of more than 4096 codes.
    """

    name = "binary switching"
    largest = 4096

    def __init__(self, rounds: int = 50) -> None:
        self.rounds = rounds

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        size = quantizer.codebook_sizes[codebook]
        if size > self.largest:
            raise InvalidValue(
                f"{self.name} map: a codebook of {size} codes", allowed=f"is too large, at most {self.largest} fit"
            )
        with torch.no_grad():
            codes = torch.arange(size, device=quantizer.device)
            entries = quantizer.entry_latents(codes, codebook).double().cpu()  # [size, D]
        bits = code_bits(quantizer.codebook_sizes)[codebook]
        distances = entries.new_zeros(2**bits, 2**bits)  # codewords without a code: no distance to anything
        distances[:size, :size] = torch.cdist(entries, entries).square()
        return binary_switching(distances, bits, rounds=self.rounds)[:size]


def binary_switching(distances: Tensor, bits: int, *, rounds: int = 50) -> Tensor:
    """Assign codewords to codes by exchanging pairs while the summed distance over single bit flips falls.

    Args:
        distances: of all pairs of codes, float64 `[2^bits, 2^bits]`, symmetric.
        bits: of a codeword.
        rounds: largest number of passes over all codes.

    Returns:
        Codeword of each code, int64 `[2^bits]`.
    """
    count = 2**bits
    flips = torch.arange(count)[:, None] ^ (1 << torch.arange(bits))  # [codewords, bits], one flip away
    code_at = torch.arange(count)  # code of each codeword
    for _ in range(rounds):
        exchanged = False
        costs = distances[code_at[:, None], code_at[flips]].sum(1)
        for code in code_at[costs.argsort(descending=True)].tolist():
            codeword = int((code_at == code).nonzero())
            gains = _exchange_gains(distances, code_at, flips, codeword)
            best = int(gains.argmax())
            if gains[best] > 1e-9 * float(distances.max()):
                code_at[[codeword, best]] = code_at[[best, codeword]]
                exchanged = True
        if not exchanged:
            break
    return code_at.argsort()


def _exchange_gains(distances: Tensor, code_at: Tensor, flips: Tensor, codeword: int) -> Tensor:
    """Fall of the cost when the code at `codeword` changes places with the code at each codeword: `[codewords]`."""
    a, others = code_at[codeword], code_at
    near_a, near_b = code_at[flips[codeword]], code_at[flips]  # [bits], [codewords, bits]
    from_a = distances[a]
    before = from_a[near_a].sum() + distances[others[:, None], near_b].sum(1)
    after = from_a[near_b].sum(1) + distances[others[:, None], near_a].sum(1)
    # Where the two are themselves one flip apart, their own distance stays: the sums above lost it twice.
    adjacent = (flips[codeword][None] == torch.arange(len(code_at))[:, None]).any(1)
    return before - after - torch.where(adjacent, 2 * from_a[others], 0.0)
