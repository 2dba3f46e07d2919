"""Measured probabilities of codes: a histogram of each digit and its first-order Markov chain over frames."""

import os
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from codec.channels.pretrained_files import file_or_pretrained, pretrained_names
from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.quantizers.base import Quantizer

DAMAGES = (OSError, EOFError, ValueError, KeyError, RuntimeError, TypeError, AttributeError)  # of NumPy's reader
LARGEST_DIGIT = 4096  # values of a digit whose pairs are counted
SUFFIX = ".prior.npz"  # of the priors of pretrained codecs

Digits = Sequence[Sequence[Tensor]]  # a tensor for each digit of each codebook


class CodePrior:
    """How probable each value of each digit of a code is, by itself and after each value in the frame before.

    A digit is a level of FSQ, or the whole code of a learned codebook (`Quantizer.digits`); digits are taken as
    independent of each other. The probabilities come from counts: with n_a values a among n, and n_ab pairs of a
    followed by b in the next frame, P(a) = (n_a + 1) / (n + L) and P(b | a) = (n_ab + P(b) √L) / (n_a+ + √L) for a
    digit of L values, n_a+ being the pairs that begin with a: what was seen seldom is drawn towards the histogram.

    Args:
        file: written by `callbacks.PriorReport` (`python train.py test --config configs/evaluate/prior.yaml`), or the
            name of a pretrained codec that has one, such as "small_fsq".

    Attributes:
        histograms: P(value), float32 `[L]`, of each digit of each codebook, the least significant digit first.
        transitions: P(value | value in the frame before), float32 `[L, L]`, rows sum to one.

    Raises:
        UnreadableFile: there is no such file, or it is damaged.
    """

    def __init__(self, file: str | Path) -> None:
        path = file_or_pretrained(file, SUFFIX)
        if not path.is_file():
            names = pretrained_names(SUFFIX)
            remedy = f"measure one with configs/evaluate/prior.yaml, or name a pretrained one of: {names}"
            raise UnreadableFile("There is no prior", str(file), remedy=remedy)
        try:
            with path.open("rb") as opened, np.load(opened) as stored:
                counts = CodeCounts([tuple(map(int, sizes)) for sizes in _unpadded(stored["digits"])])
                for k, sizes in enumerate(counts.digits):
                    for i in range(len(sizes)):
                        counts.values[k][i] = _counts(stored[f"values_{k}_{i}"], counts.values[k][i])
                        counts.pairs[k][i] = _counts(stored[f"pairs_{k}_{i}"], counts.pairs[k][i])
        except (*DAMAGES, zipfile.BadZipFile, zlib.error) as error:
            allowed = f"is damaged or no prior ({first_line(error)})"
            raise UnreadableFile(str(path), allowed=allowed, remedy="measure it again") from error
        self.file = str(file)
        self.digits = counts.digits
        self.histograms = [[_histogram(n) for n in row] for row in counts.values]
        self.transitions = [
            [_transitions(n, p) for n, p in zip(pairs, histograms, strict=True)]
            for pairs, histograms in zip(counts.pairs, self.histograms, strict=True)
        ]

    def check(self, quantizer: Quantizer) -> None:
        """Refuse a quantizer of other digits.

        Raises:
            InvalidValue: its codes have other digits than those that were counted. Another codec of the same digits is
                not told apart.
        """
        if self.digits != quantizer.digits:
            raise InvalidValue(
                f"the prior {self.file}",
                allowed=f"is of codes with digits {_short(self.digits)}, the codec's are {_short(quantizer.digits)}",
                remedy="measure the prior of this codec",
            )


class CodeCounts:
    """Counts of digits' values and of their pairs in consecutive frames, from which a `CodePrior` is made.

    Args:
        digits: `Quantizer.digits` of the codec.

    Attributes:
        values: int64 `[L]` of each digit of each codebook.
        pairs: int64 `[L, L]`, the value before by the value after.

    Raises:
        InvalidValue: a digit has more than 4096 values.
    """

    def __init__(self, digits: Sequence[tuple[int, ...]]) -> None:
        self.digits = tuple(tuple(sizes) for sizes in digits)
        largest = max(max(sizes) for sizes in self.digits)
        if largest > LARGEST_DIGIT:
            raise InvalidValue("a prior of a digit of", largest, f"values is too large, {LARGEST_DIGIT} at most")
        self.values = [[torch.zeros(size, dtype=torch.long) for size in sizes] for sizes in self.digits]
        self.pairs = [[torch.zeros(size, size, dtype=torch.long) for size in sizes] for sizes in self.digits]

    def add(self, codes: Tensor) -> None:
        """Count the codes int64 `[B, K, F]` of B clips."""
        for k, sizes in enumerate(self.digits):
            for i, digit in enumerate(split_digits(codes[:, k].cpu(), sizes)):
                size = sizes[i]
                self.values[k][i] += digit.flatten().bincount(minlength=size)
                pairs = (digit[:, :-1] * size + digit[:, 1:]).flatten()
                self.pairs[k][i] += pairs.bincount(minlength=size * size).view(size, size)

    def merge(self, other: "CodeCounts") -> None:
        """Add another's counts, of the same digits."""
        for k, sizes in enumerate(self.digits):
            for i in range(len(sizes)):
                self.values[k][i] += other.values[k][i]
                self.pairs[k][i] += other.pairs[k][i]

    def save(self, path: str | Path) -> None:
        """Write the file that `CodePrior` reads; it appears complete or not at all."""
        longest = max(len(sizes) for sizes in self.digits)
        arrays = {"digits": np.array([sizes + (0,) * (longest - len(sizes)) for sizes in self.digits])}
        for name, counts in (("values", self.values), ("pairs", self.pairs)):
            arrays |= {f"{name}_{k}_{i}": _narrow(n) for k, row in enumerate(counts) for i, n in enumerate(row)}
        target = Path(path)
        partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, allow_pickle=False, **arrays)
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)


def split_digits(codes: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The mixed-radix digits of codes of any shape, the least significant first."""
    digits = []
    for size in sizes:
        digits.append(codes % size)
        codes = codes // size
    return digits


def chain_posteriors(likelihoods: Tensor, histograms: Tensor, transitions: Tensor, lookahead: int | None) -> Tensor:
    """P(value | received bits) of digits in every frame, by the forward-backward algorithm (Rabiner 1989).

    Args:
        likelihoods: P(bits of the frame | value) of G digits of L values, up to a factor, float `[B, G, F, L]`.
        histograms: for the first frame, `[G, L]`.
        transitions: `[G, L, L]`, rows for the value before.
        lookahead: frames after a frame that count for it; 0 for the past alone, None for the whole clip.

    Returns:
        float64 `[B, G, F, L]`, which sums to one over the last axis. A frame whose bits rule out every value counts as
        lost; where the chain rules out what the bits allow, the frame's likelihoods are taken alone.
    """
    seen = _normalised(likelihoods.double())
    chain = transitions.to(seen)
    forward = []  # P(value | bits up to the frame), each [B, G, 1, L]
    expected = histograms.to(seen)[None, :, None].expand(len(seen), -1, -1, -1)
    for observed in seen.split(1, 2):
        forward.append(_normalised(expected * observed, fallback=observed))
        expected = forward[-1] @ chain
    return _normalised(torch.cat(forward, 2) * _backward(seen, chain.mT, lookahead), fallback=seen)


def _backward(seen: Tensor, chain: Tensor, lookahead: int | None) -> Tensor:
    """P(bits of the later frames | value), up to a factor: `[B, G, F, L]`; `chain` has columns for the value before."""
    frames = seen.shape[2]
    if lookahead is None or lookahead >= frames:
        message, messages = torch.ones_like(seen[:, :, :1]), []
        for observed in reversed(seen.split(1, 2)):
            messages.append(message)
            message = _normalised((observed * message) @ chain)
        return torch.cat(messages[::-1], 2)
    message = torch.ones_like(seen)
    for step in range(lookahead, 0, -1):  # all frames at once, from the last frame that each looks ahead to
        ahead = torch.ones_like(seen)
        ahead[:, :, : frames - step] = seen[:, :, step:]
        message = _normalised((ahead * message) @ chain)
    return message


def _normalised(weights: Tensor, fallback: Tensor | None = None) -> Tensor:
    """Weights `[..., L]` that sum to one; where all are zero, the fallback's, or equal ones."""
    total = weights.sum(-1, keepdim=True)
    other = torch.ones_like(weights) / weights.shape[-1] if fallback is None else fallback
    return torch.where(total > 0, weights / total.clamp_min(1e-300), other)


def _counts(stored: np.ndarray, like: Tensor) -> Tensor:
    """Counts of a file as int64; ValueError unless they are whole, not negative and of the expected shape."""
    if stored.dtype.kind not in "ui" or stored.shape != tuple(like.shape) or not (stored >= 0).all():
        raise ValueError(f"counts are {stored.dtype} {list(stored.shape)}")
    if stored.sum(dtype=np.float64) > 2**53:
        raise ValueError("counts are beyond 2^53")
    return torch.from_numpy(stored.astype(np.int64))


def _histogram(counts: Tensor) -> Tensor:
    return ((counts + 1.0) / (counts.sum() + len(counts))).float()


def _transitions(pairs: Tensor, histogram: Tensor) -> Tensor:
    weight = len(histogram) ** 0.5
    return ((pairs + weight * histogram.double()) / (pairs.sum(1, keepdim=True) + weight)).float()


def _narrow(counts: Tensor) -> np.ndarray:
    """Counts in the smallest unsigned type that holds them."""
    array = counts.numpy()
    return array.astype(np.min_scalar_type(int(array.max(initial=0))))


def _unpadded(digits: np.ndarray) -> list[list[int]]:
    if digits.dtype.kind not in "ui" or digits.ndim != 2:
        raise ValueError(f"digits are {digits.dtype} of {digits.ndim} dimensions")
    return [[int(size) for size in row if size] for row in digits]


def _short(digits: Sequence[tuple[int, ...]]) -> str:
    return " and ".join(str(list(sizes)) for sizes in digits)
