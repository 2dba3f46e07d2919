"""Which binary word stands for which code: natural binary, Gray, permuted, and binary switching (pseudo-Gray)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.quantizers.base import LARGEST_TABLE, Quantizer
from codec.quantizers.codes import code_bits


class IndexMap(ABC):
    """Assigns a binary word to each code of each codebook."""

    name: str

    @abstractmethod
    def words(self, quantizer: Quantizer, codebook: int) -> Tensor:
        """Word of each code: int64 `[size]`, different numbers below 2^bits.

        Raises:
            ValueError: the map does not fit the codebook.
        """

    def table(self, quantizer: Quantizer, codebook: int) -> Tensor:
        """`words`, once it is sure that a table of them is affordable; raises ValueError where it is not."""
        size = quantizer.codebook_sizes[codebook]
        if size > LARGEST_TABLE:
            raise ValueError(
                f"{self.name} map: a codebook of {size} codes is too large, a table holds {LARGEST_TABLE}."
            )
        return self.words(quantizer, codebook)


class NaturalMap(IndexMap):
    """The code itself in binary, as in the paper."""

    name = "natural"

    def words(self, quantizer: Quantizer, codebook: int) -> Tensor:
        return torch.arange(quantizer.codebook_sizes[codebook])


class GrayMap(IndexMap):
    """Neighbours differ in one bit: a reflected Gray code (Gray 1953) of each digit of the code.

    FSQ's digits are its levels, so a step to the next level of a dimension is one flip; a learned codebook has one
    digit, whose order means nothing. Digits must be powers of two.
    """

    name = "Gray"

    def words(self, quantizer: Quantizer, codebook: int) -> Tensor:
        digits = quantizer.digits[codebook]
        if any(size & (size - 1) for size in digits):
            raise ValueError(f"Gray map: digits {list(digits)} must each be a power of two, for example [4, 4, 4, 4].")
        code = torch.arange(quantizer.codebook_sizes[codebook])
        word, place = torch.zeros_like(code), 1
        for size in digits:
            digit = code // place % size
            word += (digit ^ (digit >> 1)) * place
            place *= size
        return word


class PermutedMap(IndexMap):
    """A random word for each code: the control that takes the neighbourhood of FSQ's levels away.

    Args:
        seed: of the permutation.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed, self.name = seed, f"permuted-{seed}" if seed else "permuted"

    def words(self, quantizer: Quantizer, codebook: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + codebook)
        word_count = 2 ** code_bits(quantizer.codebook_sizes)[codebook]
        return torch.randperm(word_count, generator=generator)[: quantizer.codebook_sizes[codebook]]


class BinarySwitchingMap(IndexMap):
    """Words chosen so that a single flip moves a learned codebook's entry as little as can be (Zeger and Gersho 1990).

    Pairs of words are exchanged as long as that lowers Σᵢ Σⱼ ‖eᵢ − eⱼ‖² over codes i and the codes j one flip away
    (equally likely codes; words without a code add nothing). A local optimum, from the natural order, without
    randomness.

    Args:
        rounds: passes over all codes at most.
    """

    name = "binary switching"
    largest = 4096

    def __init__(self, rounds: int = 50) -> None:
        self.rounds = rounds

    def words(self, quantizer: Quantizer, codebook: int) -> Tensor:
        size = quantizer.codebook_sizes[codebook]
        if size > self.largest:
            raise ValueError(f"{self.name} map: a codebook of {size} codes is too large, at most {self.largest} fit.")
        entries = _entries(quantizer, codebook)
        distances = torch.cdist(entries, entries).square()
        bits = code_bits(quantizer.codebook_sizes)[codebook]
        full = distances.new_zeros(2**bits, 2**bits)  # words without a code: no distance to anything
        full[:size, :size] = distances
        return binary_switching(full, bits, rounds=self.rounds)[:size]


def binary_switching(distances: Tensor, bits: int, *, rounds: int = 50) -> Tensor:
    """Assign words to codes by exchanging pairs while the summed distance over single flips falls.

    Args:
        distances: symmetric, of all pairs of codes, float64 `[2^bits, 2^bits]`.
        bits: of a word.
        rounds: passes over all codes at most.

    Returns:
        Word of each code, int64 `[2^bits]`.
    """
    count = 2**bits
    flips = torch.arange(count)[:, None] ^ (1 << torch.arange(bits))  # words one flip away [words, bits]
    code_at = torch.arange(count)  # code of each word
    for _ in range(rounds):
        exchanged = False
        costs = distances[code_at[:, None], code_at[flips]].sum(1)
        for code in code_at[costs.argsort(descending=True)].tolist():
            word = int((code_at == code).nonzero())
            gains = _gains(distances, code_at, flips, word)
            best = int(gains.argmax())
            if gains[best] > 1e-9 * float(distances.max()):
                code_at[[word, best]] = code_at[[best, word]]
                exchanged = True
        if not exchanged:
            break
    return code_at.argsort()


def _gains(distances: Tensor, code_at: Tensor, flips: Tensor, word: int) -> Tensor:
    """By how much the cost falls when the code at `word` changes places with the code at each word `[words]`."""
    a, others = code_at[word], code_at
    near_a, near_b = code_at[flips[word]], code_at[flips]  # [bits], [words, bits]
    from_a = distances[a]
    before = from_a[near_a].sum() + distances[others[:, None], near_b].sum(1)
    after = from_a[near_b].sum(1) + distances[others[:, None], near_a].sum(1)
    # Where the two are themselves one flip apart, their own distance stays: the sums above lost it twice.
    adjacent = (flips[word][None] == torch.arange(len(code_at))[:, None]).any(1)
    return before - after - torch.where(adjacent, 2 * from_a[others], 0.0)


def _entries(quantizer: Quantizer, codebook: int) -> Tensor:
    """What each code of a codebook adds to the latent, float64 `[size, D]`."""
    size = quantizer.codebook_sizes[codebook]
    codes = torch.zeros(1, len(quantizer.codebook_sizes), size, dtype=torch.long)
    codes[0, codebook] = torch.arange(size)
    erased = torch.ones_like(codes, dtype=torch.bool)
    erased[0, codebook] = False
    with torch.no_grad():
        return quantizer.decode(codes.to(quantizer.device), erased.to(quantizer.device))[0].T.double().cpu()
