"""Adaptive models of codes that a coder learns while it codes (Witten, Neal and Cleary 1987), and their code length."""

from collections.abc import Sequence

import numpy as np

from codec.channels.entropy_coding.entropies import Digits, frames_with_one_before, split_digits

ORDERS = (0, 1)


class AdaptiveDigit:
    """Probabilities of a digit's next value from the values so far, which encoder and decoder learn alike.

    With n_b values b among n, and n_ab pairs of a followed by b in the next frame, n_a+ of them beginning with a:

        P(b) = (n_b + 1/2) / (n + L/2)                              (Krichevsky and Trofimov 1981)
        P(b | a) = (n_ab + √L P(b)) / (n_a+ + √L)

    for a digit of L values; order 0 is P(b) alone, order 1 takes P(b | a) where there is a frame before. At the start
    all values are equally likely: nothing is known of the codes that are coded.

    Args:
        size: L.
        order: 0 or 1.
    """

    def __init__(self, size: int, order: int) -> None:
        self.order, self.weight = order, size**0.5
        self.values = np.full(size, 0.5)
        self.total = size / 2
        self.pairs: dict[int, np.ndarray] = {}

    def probabilities(self, before: int | None) -> np.ndarray:
        """float64 `[L]`, which sums to one, behind a value of the frame before; None where there is none."""
        alone = self.values / self.total
        if self.order == 0 or before is None or before not in self.pairs:
            return alone
        row = self.pairs[before]
        return (row + self.weight * alone) / (row.sum() + self.weight)

    def update(self, before: int | None, value: int) -> None:
        """Learn a value and, of order 1, its pair with the value before."""
        self.values[value] += 1
        self.total += 1
        if self.order and before is not None:
            self.pairs.setdefault(before, np.zeros(len(self.values)))[value] += 1


def adaptive_bits(clips: Sequence[np.ndarray], digits: Digits, *, order: int = 1) -> float:
    """Code length −Σ log2 P of clips one behind the other under `AdaptiveDigit`, in bits.

    An arithmetic coder with these models needs as many bits, up to 2 of its end and its rounding. No pair reaches
    across clips.

    Args:
        clips: codes of each clip, integers `[K, F]`; one clip for its length by itself.
        digits: sizes of each codebook's digits; those of the first K count.
        order: 0 or 1.
    """
    codes = np.concatenate([np.asarray(clip) for clip in clips], 1)
    follows = frames_with_one_before([clip.shape[1] for clip in clips])
    total = 0.0
    for k, sizes in enumerate(digits[: len(codes)]):
        for values, size in zip(split_digits(codes[k], sizes), sizes, strict=True):
            total -= float(np.log2(_probabilities(values.astype(np.int64), size, follows, order)).sum())
    return total


def _probabilities(values: np.ndarray, size: int, follows: np.ndarray, order: int) -> np.ndarray:
    """P of each value `[N]` by those before it, all at once: a count so far is the number of earlier equal ones."""
    chances = (earlier_equal(values) + 0.5) / (np.arange(len(values)) + size / 2)
    if order:
        after = np.flatnonzero(follows)
        before = values[after - 1]
        pairs = earlier_equal(before * size + values[after])
        weight = size**0.5
        chances[after] = (pairs + weight * chances[after]) / (earlier_equal(before) + weight)
    return chances


def earlier_equal(values: np.ndarray) -> np.ndarray:
    """How many earlier entries of `[N]` equal each entry, int64 `[N]`."""
    order = np.argsort(values, kind="stable")
    ranked = values[order]
    first = np.flatnonzero(np.diff(ranked, prepend=ranked[:1] - 1)) if len(ranked) else np.zeros(0, dtype=np.int64)
    counts = np.empty(len(values), dtype=np.int64)
    counts[order] = np.arange(len(values)) - np.repeat(first, np.diff(first, append=len(values)))
    return counts
