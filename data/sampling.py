"""Which clip is used, and where in it: random draws that are pure functions of (seed, draw index), and samplers.

Batch n of rank r, with W ranks and B items for each, holds the draws n*W*B + r*B + j for j < B. So the training stream
is the same for any number of workers, the same for W ranks of B items as for one rank of W*B, and it can continue from
any batch.
"""

import hashlib
import itertools
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import Sampler, SequentialSampler

from data.errors import DataError

BLOCK = 1024  # clips of a `ClipTable` whose probabilities are summed again for a choice
KEPT = 256  # blocks whose sums a process keeps
SUMMED = BLOCK << 8  # clips summed at once when a table is made
Lengths = Sequence[float] | np.ndarray  # of clips, in seconds


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

    So every second of a corpus is equally likely. A clip of 0 seconds is never chosen. The table keeps 8 bytes for
    `BLOCK` clips: the sums of the probabilities up to each block. Inside a block they are summed again for a choice, in
    the same order and so to the same bits, and `KEPT` blocks' are kept: that is all of a corpus of some size.

    Args:
        seconds: the lengths of the clips, one sequence for each corpus: a list, an array, or what gives an array when
            it is sliced, such as a column in a file.
        weights: of the corpora; None for equal ones.

    Attributes:
        seconds: of all corpora together.

    Raises:
        DataError: A corpus has a length of 0 seconds in all, or the weights are not one positive number for each.
    """

    def __init__(self, seconds: Sequence[Lengths], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(seconds) if weights is None else list(weights)
        if len(weights) != len(seconds) or not all(np.isfinite(w) and w > 0 for w in weights):
            raise DataError("weights", weights, f"must be one positive number for each of the {len(seconds)} sources")
        self._weights = weights
        self._seconds = [np.asarray(s, dtype=np.float64) if isinstance(s, (list, tuple)) else s for s in seconds]
        self._totals = [float(np.sum(np.asarray(lengths))) for lengths in self._seconds]
        for number, total in enumerate(self._totals):
            if not total > 0:
                raise DataError("source", number, "has no clip that can be read", "see the warnings above")
        self.seconds = sum(self._totals)
        self._starts = [0, *itertools.accumulate(map(len, self._seconds))]
        self._sums: dict[int, np.ndarray] = {}  # of blocks that were summed
        self._sum_blocks()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_sums": {}}  # each process makes its own

    def __len__(self) -> int:
        return self._starts[-1]

    def choose(self, uniform: float) -> int:
        """The number of a clip, counted through all corpora, from a uniform number in [0, 1)."""
        block = int(np.searchsorted(self._ends, uniform, side="right"))
        if block == len(self._ends):
            return self._last
        corpus = bisect_right(self._first_blocks, block) - 1
        first = (block - self._first_blocks[corpus]) * BLOCK
        upper = self._sums.get(block)
        if upper is None:
            masses = self._masses(corpus, first, BLOCK)
            masses[0] += self._ends[block - 1] if block else 0.0
            upper = np.cumsum(masses)
            if len(self._sums) < KEPT:
                self._sums[block] = upper
        place = int(np.searchsorted(upper, uniform, side="right"))
        return min(self._starts[corpus] + first + place, self._last)

    def _sum_blocks(self) -> None:
        """Sum the probabilities up to the end of each block, and find the last clip that has one."""
        ends: list[np.ndarray] = []
        self._first_blocks, self._last, before = [], 0, 0.0
        for corpus, lengths in enumerate(self._seconds):
            self._first_blocks.append(sum(map(len, ends)))
            for first in range(0, len(lengths), SUMMED):
                masses = self._masses(corpus, first, SUMMED)
                if masses.any():
                    self._last = self._starts[corpus] + first + int(np.flatnonzero(masses)[-1])
                masses[0] += before
                upper = np.cumsum(masses)
                ends.append(np.append(upper[BLOCK - 1 : -1 : BLOCK], upper[-1]))
                before = upper[-1]
        self._ends = np.concatenate(ends)

    def _masses(self, corpus: int, first: int, count: int) -> np.ndarray:
        """The probabilities of at most `count` clips of a corpus from number `first` on."""
        lengths = np.asarray(self._seconds[corpus][first : first + count], dtype=np.float64)
        return lengths / self._totals[corpus] * self._weights[corpus] / sum(self._weights)


class DrawBatchSampler(Sampler[list[int]]):
    """The endless training stream of one rank: lists of `batch_size` draw indices, batch after batch.

    `start_batch` is the number of the first batch, or a function that returns it when an iteration begins. With
    `repeat`, the stream consists of its first so many batches, over and over. The sampler has no length on purpose: the
    stream does not end.
    """

    def __init__(
        self,
        batch_size: int,
        rank: int = 0,
        *,
        world_size: int = 1,
        start_batch: int | Callable[[], int] = 0,
        repeat: int | None = None,
    ) -> None:
        if batch_size < 1 or not 0 <= rank < world_size:
            given = f"batch_size {batch_size}, rank {rank}, world_size {world_size}"
            raise DataError(given, allowed="need batch_size >= 1 and 0 <= rank < world_size")
        self._batch_size, self._rank, self._world_size = batch_size, rank, world_size
        self._start_batch, self._repeat = start_batch, repeat

    def __iter__(self) -> Iterator[list[int]]:
        start = self._start_batch() if callable(self._start_batch) else self._start_batch
        for number in itertools.count(start):
            batch = number % self._repeat if self._repeat else number
            first = (batch * self._world_size + self._rank) * self._batch_size
            yield list(range(first, first + self._batch_size))


class EpochLength(NamedTuple):
    """How many batches hold as many seconds as the training corpora.

    Attributes:
        batches: the quotient of the two others, rounded up.
        seconds: of all training corpora.
        batch_seconds: of a batch, of all ranks together.
    """

    batches: int
    seconds: float
    batch_seconds: float

    @classmethod
    def of(cls, seconds: float, batch_seconds: float) -> "EpochLength":
        return cls(math.ceil(seconds / batch_seconds - 1e-9), seconds, batch_seconds)

    def share(self, wanted: int | float) -> int | None:
        """A number of batches as it is, a fraction (of a batch at least) in batches; None for 0."""
        if not wanted:
            return None
        return wanted if isinstance(wanted, int) else max(1, int(wanted * self.batches))


class ShardSampler(SequentialSampler):
    """Every `world_size`-th item from number `rank` on: the ranks together hold each item exactly once.

    A `SequentialSampler` by its class, for Lightning replaces others under `overfit_batches`.
    """

    def __init__(self, items: int, rank: int = 0, *, world_size: int = 1) -> None:
        if not 0 <= rank < world_size:
            raise DataError(f"rank {rank}, world_size {world_size}", allowed="need 0 <= rank < world_size")
        self._indices = range(rank, items, world_size)
        super().__init__(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)

    def __len__(self) -> int:
        return len(self._indices)


class UnsizedSampler(SequentialSampler):
    """The items of another sampler, without a length, for loaders that must not state one."""

    def __init__(self, sampler: Sampler[int]) -> None:
        super().__init__(range(0))
        self._sampler = sampler

    def __iter__(self) -> Iterator[int]:
        return iter(self._sampler)

    def __len__(self) -> int:
        raise TypeError("a loader of fewer clips than ranks states no length")
