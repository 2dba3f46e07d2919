"""Which clip and which place in it: random draws that are pure functions of (seed, draw index), and samplers.

Training batch n of rank r among W ranks with B items a rank holds the draws n*W*B + r*B + j for j < B. The
stream is the same for any number of workers, for W ranks of B as for one rank of W*B, and continues from any
batch.
"""

import hashlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler


class Draw(NamedTuple):
    """Independent uniform numbers in [0, 1), one for each decision about a training item."""

    clip: float
    position: float
    gain: float
    noise: float
    noise_clip: float
    noise_position: float
    snr: float


def seeded_generator(*key: int | str) -> torch.Generator:
    """A torch.Generator that depends on every part of `key` (through blake2b) and on nothing else."""
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def draw_uniforms(seed: int, index: int, attempt: int) -> Draw:
    """The random numbers of draw `index`; `attempt` counts the unreadable files met before in this draw."""
    generator = seeded_generator("draw", seed, index, attempt)
    return Draw(*torch.rand(len(Draw._fields), generator=generator, dtype=torch.float64).tolist())


class ClipTable:
    """Chooses a clip: a corpus by its weight, then a clip of it in proportion to its seconds.

    So every second of a corpus is equally likely. `seconds` holds one list for each corpus; a clip of 0
    seconds is never chosen. Raises ValueError unless each corpus has some sound and one positive weight.
    """

    def __init__(self, seconds: Sequence[Sequence[float]], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(seconds) if weights is None else list(weights)
        if len(weights) != len(seconds) or not all(np.isfinite(w) and w > 0 for w in weights):
            raise ValueError(
                f"weights must be one positive number for each of the {len(seconds)} sources, got {weights}"
            )
        parts = []
        for number, (clips, weight) in enumerate(zip(seconds, weights, strict=True)):
            mass = np.asarray(clips, dtype=np.float64)
            if not mass.sum() > 0:
                raise ValueError(f"source {number} has no clip that can be read; see the warnings above")
            parts.append(mass / mass.sum() * weight / sum(weights))
        self._upper = np.cumsum(np.concatenate(parts))
        self._last = int(np.flatnonzero(np.concatenate(parts))[-1])

    def __len__(self) -> int:
        return len(self._upper)

    def choose(self, uniform: float) -> int:
        """The number of the clip (counted through all corpora in order) that `uniform` in [0, 1) falls on."""
        return min(int(np.searchsorted(self._upper, uniform, side="right")), self._last)


class DrawBatchSampler(Sampler[list[int]]):
    """The endless training stream of one rank: lists of `batch_size` draw indices, batch after batch.

    `start_batch` is the number of the first batch, or a function that gives it each time an iteration begins.
    It has no length on purpose: the stream does not end.
    """

    def __init__(
        self, batch_size: int, rank: int = 0, *, world_size: int = 1, start_batch: int | Callable[[], int] = 0
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            raise ValueError(f"need batch_size >= 1 and 0 <= rank < world_size, got {batch_size}, {rank}, {world_size}")
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._start_batch = start_batch

    def __iter__(self) -> Iterator[list[int]]:
        start = self._start_batch() if callable(self._start_batch) else self._start_batch
        for batch in itertools.count(start):
            first = (batch * self._world_size + self._rank) * self._batch_size
            yield list(range(first, first + self._batch_size))


class ShardSampler(Sampler[int]):
    """Every world_size-th item from `rank` on: all ranks together hold each item exactly once."""

    def __init__(self, items: int, rank: int = 0, *, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise ValueError(f"need 0 <= rank < world_size, got {rank}, {world_size}")
        self._indices = range(rank, items, world_size)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class UnsizedSampler(Sampler[int]):
    """Another sampler's items, without telling how many there are."""

    def __init__(self, sampler: Sampler[int]) -> None:
        self._sampler = sampler

    def __iter__(self) -> Iterator[int]:
        return iter(self._sampler)
