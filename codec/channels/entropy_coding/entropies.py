"""Entropies of codes, of zeroth and first order, with what few frames leave open (Shannon 1948; Miller 1955)."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

ENOUGH = 0.95  # coverage from which an estimate is stated as one number

Digits = Sequence[Sequence[int]]  # sizes of each codebook's digits, the least significant first (`Quantizer.digits`)


class Entropy(NamedTuple):
    """Bits a frame that some part of the codes needs on average.

    The plug-in estimate from N frames is too low on average, by about (m − 1) / (2 N ln 2) bits with m values seen
    (Miller 1955), and by more where many values were never seen or frames depend on each other. So three numbers are
    stated, and the one in the middle only where the frames suffice.

    Attributes:
        part: "dimension 3", "codebook 1, dimension 0", "codebook 1" or "frame", which is all codebooks.
        order: 0, of a frame by itself; 1, given the same part in the frame before.
        sent: bits of its codeword; of a digit of L values log2 L.
        low: plug-in estimate, on average below the entropy.
        corrected: `low` with Miller's correction; NaN where the coverage is below 0.95.
        high: estimate that takes digits as independent of each other, and the frame before as unknown where nothing
            better is known: above the entropy by what they share, but made of estimates that can be too low.
        coverage: estimated probability that a frame's value (order 1: pair of values) is among those seen, 1 − f / N
            with f values seen once (Good 1953).
    """

    part: str
    order: int
    sent: float
    low: float
    corrected: float
    high: float
    coverage: float

    @property
    def best(self) -> float:
        """The corrected estimate, or `high` where there are too few frames."""
        return self.high if np.isnan(self.corrected) else self.corrected


def code_entropies(clips: Sequence[np.ndarray], digits: Digits) -> list[Entropy]:
    """Entropies of codes by digit, codebook and frame, of both orders; pairs of frames do not reach across clips.

    Args:
        clips: codes of each clip, integers `[K, F]`.
        digits: sizes of each codebook's digits; those of the first K count.
    """
    codes = np.concatenate([np.asarray(clip) for clip in clips], 1)  # [K, N]
    digits = digits[: len(codes)]
    follows = frames_with_one_before([clip.shape[1] for clip in clips])
    found: list[Entropy] = []
    books: list[list[Entropy]] = [[], []]  # the joint ones of each codebook, by order
    labels = []
    for k, sizes in enumerate(digits):
        name, width = f"codebook {k}", float(sum(np.log2(size) for size in sizes))
        named = len(digits) > 1
        parts = [f"{name}, dimension {i}" if named else f"dimension {i}" for i in range(len(sizes))]
        singles: list[list[Entropy]] = [[], []]
        for i, values in enumerate(split_digits(codes[k], sizes)):
            pair = _both_orders(parts[i], values, follows, sent=float(np.log2(sizes[i])), high=[np.log2(sizes[i])] * 2)
            for order in (0, 1):
                singles[order].append(pair[order])
        labels.append(_compact(codes[k]))
        joint = [row._replace(part=name if named else "frame") for row in (singles[0][0], singles[1][0])]
        if len(sizes) > 1:
            found += singles[0] + singles[1]
            high = [sum(row.best for row in rows) for rows in singles]
            joint = _both_orders(joint[0].part, labels[-1], follows, sent=width, high=high)
        found += joint
        for order in (0, 1):
            books[order].append(joint[order])
    if len(digits) > 1:
        high = [sum(row.best for row in rows) for rows in books]
        together = labels[0]
        for other in labels[1:]:
            together = _compact(together * (int(other.max(initial=0)) + 1) + other)
        found += _both_orders("frame", together, follows, sent=sum(row.sent for row in books[0]), high=high)
    return found


def frames_with_one_before(lengths: Sequence[int]) -> np.ndarray:
    """bool `[N]` of clips of so many frames one behind the other: False for the first of each."""
    follows = np.ones(sum(lengths), dtype=bool)
    follows[np.cumsum([0, *lengths])[:-1][np.array(lengths, dtype=int) > 0]] = False
    return follows


def split_digits(codes: np.ndarray, sizes: Sequence[int]) -> Iterator[np.ndarray]:
    """The mixed-radix digits of codes of any shape, the least significant first."""
    for size in sizes:
        yield codes % size
        codes = codes // size


def plug_in(counts: np.ndarray) -> float:
    """Entropy in bits of the shares of counts or of probabilities, any shape; 0 without counts."""
    seen = counts[counts > 0]
    total = seen.sum()
    return float(np.log2(total) - (seen * np.log2(seen)).sum() / total) if total else 0.0


def coverage(counts: np.ndarray) -> float:
    """Estimated probability of what was seen, 1 − f / N with f values seen once (Good 1953); 0 without counts."""
    total = counts.sum()
    return float(1 - (counts == 1).sum() / total) if total else 0.0


def _both_orders(
    part: str, values: np.ndarray, follows: np.ndarray, *, sent: float, high: Sequence[float]
) -> list[Entropy]:
    """The entropies of order 0 and 1 of one part, with bounds from above by other means."""
    labels = _compact(values)
    counts = np.bincount(labels)
    zeroth = _estimate(part, 0, plug_in(counts), _correction(counts), coverage(counts), sent=sent, high=high[0])
    after = np.flatnonzero(follows)
    pairs = _compact(labels[after - 1] * len(counts) + labels[after])
    joint, before = np.bincount(pairs), np.bincount(labels[after - 1])
    low, correction = plug_in(joint) - plug_in(before), _correction(joint) - _correction(before)
    bound = min(high[1], zeroth.best)
    return [zeroth, _estimate(part, 1, low, correction, coverage(joint), sent=sent, high=bound)]


def _estimate(
    part: str, order: int, low: float, correction: float, seen: float, *, sent: float, high: float
) -> Entropy:
    low = max(low, 0.0)
    high = max(float(high), low)
    corrected = float(min(low + correction, high)) if seen >= ENOUGH else float("nan")
    return Entropy(part, order, sent, low, corrected, high, seen)


def _correction(counts: np.ndarray) -> float:
    """Miller's correction of a plug-in estimate, (m − 1) / (2 N ln 2) bits with m values among N."""
    total, seen = int(counts.sum()), int((counts > 0).sum())
    return (seen - 1) / (2 * total * np.log(2)) if total else 0.0


def _compact(values: np.ndarray) -> np.ndarray:
    """Labels 0 … m − 1 of m different values."""
    return np.unique(values, return_inverse=True)[1].reshape(values.shape)
