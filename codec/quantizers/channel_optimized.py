"""Channel-optimised vector quantization: codebooks that organise their indices for bit errors in training."""

import math

import torch
from torch import Tensor

from codec.errors import InvalidValue
from codec.quantizers.codebooks import EMACodebook, distances


class ChannelOptimizedCodebook(EMACodebook):
    """An `EMACodebook` whose indices cross a binary symmetric channel: a learned index assignment at the same rate.

    Index i is sent as its natural binary word of n bits (`NaturalMap`) and received as j with probability
    P(j|i) = p^h (1 − p)^(n − h), h the number of bits in which they differ. Training alternates the two conditions of
    optimality of Kumazawa, Kasahara and Namekawa (1984) and Farvardin (1990, section III): a vector is coded by the
    index of least expected distortion,

        i(x) = argmin_i Σ_j P(j|i) ‖x − e_j‖² = argmin_i ‖x − ē_i‖² + Σ_j P(j|i) ‖e_j − ē_i‖²,   ē_i = Σ_j P(j|i) e_j,

    and an entry is the mean of the vectors that it is received for, e_j = Σ_i P(j|i) Σ_{x: i(x)=i} x / Σ_i P(j|i) N_i,
    as moving averages over batches. Neighbours in Hamming distance thereby become neighbours in space, as units on the
    grid of a self-organising map do; P falls off with the distance as the map's neighbourhood, which shrinks where the
    rate is annealed. Entries that no vector is coded by are normal where p is large: they serve what errors turn into
    them. So an entry restarts if its usage, weighted like the mean above, falls below `restart_below`.

    With a bit error rate of 0 it is `EMACodebook`, bit for bit. Products with P take n steps over the table, one for
    each bit, in place of a matrix. The rate in force follows the batches learned from, a saved buffer, so that resumed
    runs go on exactly; in evaluation, too, vectors are coded for the rate then in force.

    Args:
        size: number of entries, a power of two.
        dim: their width.
        bit_error_rate: p to be trained for, in [0, 0.5).
        start_bit_error_rate: p at the first batch, from which it falls to `bit_error_rate` linearly; None for the same.
        anneal_batches: batches over which it falls.
        decay: see `Codebook`, as the rest.

    Raises:
        InvalidValue: a size that is no power of two, a rate outside [0, 0.5) or a number out of range.
    """

    def __init__(
        self,
        size: int = 256,
        dim: int = 8,
        *,
        bit_error_rate: float = 0.01,
        start_bit_error_rate: float | None = None,
        anneal_batches: int = 500,
        decay: float = 0.99,
        restart_below: float = 0.1,
        kmeans_rounds: int = 10,
    ) -> None:
        super().__init__(size, dim, decay=decay, restart_below=restart_below, kmeans_rounds=kmeans_rounds)
        if size & (size - 1):
            raise InvalidValue("size", size, "must be a power of two: every word of its bits is received", "take 256")
        start = bit_error_rate if start_bit_error_rate is None else start_bit_error_rate
        for name, rate in (("bit_error_rate", bit_error_rate), ("start_bit_error_rate", start)):
            if not 0.0 <= rate < 0.5:
                raise InvalidValue(name, rate, "must lie in [0, 0.5)", "take 0.01")
        if not 1 <= anneal_batches < math.inf:
            raise InvalidValue("anneal_batches", anneal_batches, "must be at least 1")
        self.bits = size.bit_length() - 1
        self.bit_error_rate, self.start_bit_error_rate, self.anneal_batches = bit_error_rate, start, anneal_batches
        self._without_errors = bit_error_rate == start == 0.0

    @property
    def rate(self) -> Tensor:
        """The bit error rate in force, a float32 scalar."""
        left = (1 - self.batches / self.anneal_batches).clamp_min(0.0)
        return self.bit_error_rate + (self.start_bit_error_rate - self.bit_error_rate) * left

    def spread(self, values: Tensor) -> Tensor:
        """Σ_j P(j|i) values_j of `[size, ...]`; P is symmetric, so that it serves means and transposed sums alike."""
        return values if self._without_errors else bit_error_means(values, self.rate)

    def nearest(self, vectors: Tensor) -> Tensor:
        """Indices `[N]` of least expected squared distance to float32 `[N, d]`."""
        if self._without_errors:
            return super().nearest(vectors)
        centre = self.table.mean(0)  # about the origin, squares lose no digits
        table = self.table - centre
        means = self.spread(table)
        spread = (self.spread(table.square().sum(1)) - means.square().sum(1)).clamp_min(0.0)  # Σ_j P(j|i) ‖e_j − ē_i‖²
        return (distances(vectors - centre, means).square() + spread).argmin(-1)


def bit_error_means(values: Tensor, rate: Tensor | float) -> Tensor:
    """Means of `values [2^n, ...]` over the indices that a binary symmetric channel of rate p makes of each index.

    >>> [round(mean, 3) for mean in bit_error_means(torch.tensor([0.0, 1.0, 2.0, 3.0]), 0.1).tolist()]
    [0.3, 1.1, 1.9, 2.7]
    """
    size = len(values)
    flat = values.reshape(size, -1)
    for bit in range(size.bit_length() - 1):
        pairs = flat.view(size >> (bit + 1), 2, -1)  # indices that differ in this bit
        flat = torch.lerp(pairs, pairs.flip(1), rate).view(size, -1)
    return flat.view_as(values)
