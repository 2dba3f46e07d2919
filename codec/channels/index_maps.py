"""Index assignment: which binary codeword stands for which code (natural, Gray, permuted, binary switching)."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.channels.receiving.priors import CodePrior
from codec.errors import InvalidValue
from codec.layers.construction import Constructed
from codec.quantizers.base import LARGEST_TABLE, Quantizer
from codec.quantizers.codebooks import distances as euclidean_distances
from codec.quantizers.codes import code_bits


class IndexMap(Constructed, ABC):
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
    """Random codewords: a control without any relation between codewords and FSQ's levels.

    The natural codeword is cut into blocks of `width` bits, and the values of each block are permuted by themselves. So
    a flipped bit damages its block and nothing else. How much one flip destroys depends on the width: to compare the
    index assignments of two codecs, give both the same width. FSQ's levels [4] * 8 make one codeword of 16 bits; width
    8 permutes inside two halves of four dimensions each, as RVQ's two codewords of 8 bits are permuted, and width 2
    inside each dimension.

    Args:
        seed: of the permutations.
        width: bits of a block, a divisor of the codeword's bits; None for the whole codeword.

    Raises:
        InvalidValue: `width` is below 1 or `seed` out of range; in `codewords`, the width does not divide the codeword,
            or it is smaller and the codebook's size is no power of two.
    """

    def __init__(self, seed: int = 0, *, width: int | None = None) -> None:
        if width is not None and width < 1:
            raise InvalidValue("width", width, "must be at least 1 bit, or null for whole codewords", "take 8")
        if not 0 <= seed < 2**32:
            raise InvalidValue("seed", seed, "must be from 0 to 2^32 - 1", "take 0")
        self.seed, self.width = seed, width
        self.name = "permuted" + (f" in {width} bits" if width else "") + (f"-{seed}" if seed else "")

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        generator = torch.Generator().manual_seed(1_000_003 * self.seed + codebook)
        size, bits = quantizer.codebook_sizes[codebook], code_bits(quantizer.codebook_sizes)[codebook]
        width = self.width or bits
        if bits % width or (width < bits and size != 2**bits):
            allowed = (
                f"must divide the {bits} bits of a codeword, and the {size} codes of the codebook fill all of them"
            )
            raise InvalidValue("width", width, allowed, "give null for whole codewords")
        codes, codewords = torch.arange(size), torch.zeros(size, dtype=torch.long)
        for shift in range(0, bits, width):
            permutation = torch.randperm(2**width, generator=generator)
            codewords |= permutation[codes >> shift & 2**width - 1] << shift
        return codewords


class BinarySwitchingMap(IndexMap):
    """Optimised index assignment by binary switching, pseudo-Gray coding (Zeger and Gersho 1990).

    Pairs of codewords are exchanged as long as that lowers Σᵢ Σⱼ ½ (pᵢ + pⱼ) ‖eᵢ − eⱼ‖², the sum over codes i and the
    codes j whose codeword is one bit flip away, of probability p: the expected squared error of one flip. Codewords
    without a code add nothing. The search starts from the natural order, draws nothing at random, and ends in a local
    optimum.

    A code of several digits, such as FSQ's levels, is searched digit by digit: with a codeword of its own for each
    digit, the cost is a sum over digits, and of four levels every assignment is one exchange away, but
    for symmetries that cost nothing. For equally likely
    codes of FSQ whose levels are powers of two the natural order is then optimal, even among all assignments of the
    whole codeword, because its latents are affine in its bits (Knagenhjelm and Agrell 1996); a prior can move it.

    Args:
        rounds: largest number of passes over all codes.
        prior: probabilities of the codes; None for equally likely ones.

    `codewords` raises InvalidValue for more than 4096 values of a digit, and for several digits of which one is no
    power of two.
    """

    name = "binary switching"
    largest = 4096

    def __init__(self, rounds: int = 50, *, prior: CodePrior | None = None) -> None:
        if rounds < 1:
            raise InvalidValue("rounds", rounds, "must be at least 1", "take 50")
        self.rounds, self.prior = rounds, prior

    def codewords(self, quantizer: Quantizer, codebook: int) -> Tensor:
        digits, size = quantizer.digits[codebook], quantizer.codebook_sizes[codebook]
        if not quantizer.averages:
            remedy = "take codec.PermutedMap, or no index map"
            raise InvalidValue(f"{self.name} map", None, "needs latents, of which an external codec has none", remedy)
        if max(digits) > self.largest:
            raise InvalidValue(
                f"{self.name} map: a codebook of {max(digits)} codes",
                allowed=f"is too large, at most {self.largest} fit",
            )
        if len(digits) > 1 and any(count & (count - 1) for count in digits):
            raise InvalidValue(f"{self.name} map: digits", list(digits), "must each be a power of two", "take [4, 4]")
        if self.prior is not None:
            self.prior.check(quantizer)
        code, codewords, place_value = torch.arange(size), torch.zeros(size, dtype=torch.long), 1
        for i, count in enumerate(digits):
            assigned = self._digit_codewords(quantizer, codebook, i, place_value)
            codewords += assigned[code // place_value % count] * place_value
            place_value *= count
        return codewords

    def _digit_codewords(self, quantizer: Quantizer, codebook: int, digit: int, place_value: int) -> Tensor:
        """Codeword of each value of a digit, int64 `[values]`, the other digits being zero."""
        values = quantizer.digits[codebook][digit]
        with torch.no_grad():
            codes = torch.arange(values, device=quantizer.device) * place_value
            entries = quantizer.entry_latents(codes, codebook).double().cpu()  # [values, D]
        bits = (values - 1).bit_length()
        distances = entries.new_zeros(2**bits, 2**bits)  # codewords without a code: no distance to anything
        distances[:values, :values] = euclidean_distances(entries, entries).square()
        if self.prior is not None:
            likely = values * self.prior.histograms[codebook][digit].double()
            distances[:values, :values] *= (likely[:, None] + likely) / 2
        return binary_switching(distances, bits, rounds=self.rounds)[:values]


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


def code_table(codewords: Tensor, count: int) -> Tensor:
    """Code of each of `count` codewords, −1 where there is none: int64 `[count]`."""
    codes = torch.full((count,), -1)
    codes[codewords] = torch.arange(len(codewords))
    return codes
