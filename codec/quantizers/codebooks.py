"""Codebooks of RVQ: learned by gradient (DAC, arXiv 2306.06546) or as moving averages (VQ-VAE-2, arXiv 1906.00446)."""

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.layers.construction import Constructed
from codec.layers.ranks import gather_over_ranks, world_size

LEAST_USAGE = 1e-8  # keeps a division by an entry's uses finite


class Match(NamedTuple):
    """The entries nearest to vectors `[N, d]`: int64 indices `[N]`, entries `[N, d]`, and the codebook's own loss."""

    indices: Tensor
    entries: Tensor
    loss: Tensor


class Codebook(Constructed, nn.Module, ABC):
    """A table `[size, dim]` of entries that follow the distribution of the vectors, with no entry left unused.

    The first training batch initialises all entries with vectors of the batch and refines them by k-means. Before the
    lookup of each later batch, entries that are hardly used restart on vectors of that batch. Ranks sum their
    statistics and restart on the same vectors, to which each contributes equally many however many it has, so that
    tables stay bit-identical. If a batch has a value that is not finite on any rank, no rank learns from it. All state
    is in buffers, and random draws come from torch's global generator.

    Args:
        size: number of entries.
        dim: their width.
        decay: share of the usage statistics, and of a moving average, kept at each batch; (1 + n) / (10 + n) at the
            n-th batch where that is less, because latents change fast at first.
        restart_below: an entry restarts if its usage, relative to evenly used entries, falls below; 0 for never.
        kmeans_rounds: on the first batch.

    Raises:
        InvalidValue: a number is out of range.
    """

    table: Tensor
    usage: Tensor
    batches: Tensor

    def __init__(
        self,
        size: int = 256,
        dim: int = 8,
        *,
        decay: float = 0.99,
        restart_below: float = 0.1,
        kmeans_rounds: int = 10,
    ) -> None:
        super().__init__()
        for name, number, least in (("size", size, 2), ("dim", dim, 1), ("kmeans_rounds", kmeans_rounds, 0)):
            if number < least:
                raise InvalidValue(name, number, f"must be at least {least}")
        for name, share in (("decay", decay), ("restart_below", restart_below)):
            if not 0.0 <= share < 1.0:
                raise InvalidValue(name, share, "must lie in [0, 1)")
        self.size, self.dim, self.decay = size, dim, decay
        self.restart_below, self.kmeans_rounds = restart_below, kmeans_rounds
        self._begun = False  # known on the host: a later batch does not ask the device whether it is the first
        self.register_table(torch.randn(size, dim))
        self.register_buffer("usage", torch.ones(size))  # moving average of each entry's uses, 1 for an even share
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))  # learned from

    @abstractmethod
    def register_table(self, table: Tensor) -> None:
        """Register `table [size, d]` as `self.table`, a parameter or a buffer."""

    @abstractmethod
    def nearest(self, vectors: Tensor) -> Tensor:
        """Indices `[N]` of the entries nearest to float32 `[N, d]`."""

    @abstractmethod
    def codebook_loss(self, entries: Tensor, vectors: Tensor) -> Tensor:
        """Scalar loss whose gradient moves the chosen entries `[N, d]` towards their vectors `[N, d]`."""

    @abstractmethod
    def update_table(self, means: Tensor, share: Tensor) -> None:
        """Move each entry without a loss, by `share [size]` of the way to the `means [size, d]` of its vectors."""

    def spread(self, values: Tensor) -> Tensor:
        """What entries learn from one another: `[size, ...]` of each index to that of each entry; the same by default.

        Linear in the values, counts and sums of vectors alike.
        """
        return values

    def match(self, vectors: Tensor) -> Match:
        """Find the nearest entries to float32 `[N, d]`; in training mode also learn."""
        finite = self._restart_entries(vectors.detach()) if self.training else None
        with torch.no_grad():
            indices = self.nearest(vectors)
        entries = F.embedding(indices, self.table)
        if finite is not None:
            self._update_statistics(vectors.detach(), indices, finite)
        return Match(indices, entries.detach(), self.codebook_loss(entries, vectors.detach()))

    @torch.no_grad()
    def _restart_entries(self, vectors: Tensor) -> Tensor:
        """Restart idle entries, on the first batch all of them with k-means; bool scalar, True for a finite batch."""
        pool, finite = self._draw_vectors(vectors)
        idle = finite & ((self.spread(self.usage) < self.restart_below) | (self.batches == 0))
        self.table.copy_(torch.where(idle[:, None], pool, self.table))
        self.usage.masked_fill_(idle, 1.0)
        if self._is_first(finite):
            for _ in range(self.kmeans_rounds):
                usage, sums = self._usage_and_sums(vectors, self.nearest(vectors))
                weight = self.spread(usage)
                means = self.spread(sums) / weight.clamp_min(LEAST_USAGE)[:, None]
                self.table.copy_(torch.where(weight[:, None] > 0, means, self.table))
                self.usage.copy_(usage)
        return finite

    def _is_first(self, finite: Tensor) -> bool:
        """Whether this is the first batch learned from; waits for the device until there has been one."""
        if self._begun:
            return False
        is_finite, is_fresh = torch.stack((finite, self.batches == 0)).tolist()
        self._begun = is_finite or not is_fresh
        return is_finite and is_fresh

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        """Load as any module, and forget what is known of the earlier state."""
        self._begun = False
        super()._load_from_state_dict(*args, **kwargs)

    @torch.no_grad()
    def _update_statistics(self, vectors: Tensor, indices: Tensor, finite: Tensor) -> None:
        """Update usage and, through `update_table`, the entries; nothing changes where `finite` is False."""
        usage, sums = self._usage_and_sums(vectors, indices)
        warmup = (1 + self.batches) / (10 + self.batches)
        rate = (1 - warmup.clamp_max(self.decay)) * finite
        self.usage.lerp_(usage, rate)
        weight = self.spread(usage)
        share = rate * weight / self.spread(self.usage).clamp_min(LEAST_USAGE)
        self.update_table(self.spread(sums) / weight.clamp_min(LEAST_USAGE)[:, None], share)
        self.batches += finite

    def _usage_and_sums(self, vectors: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Each entry's uses `[size]` and sum of vectors `[size, d]` over all ranks, both over an even share of uses."""
        counted = torch.cat((vectors.new_ones(len(vectors), 1), vectors), 1)
        total = vectors.new_zeros(self.size, self.dim + 1).index_add_(0, indices, counted)
        if world_size() > 1:
            dist.all_reduce(total)
        total = total * (self.size / total[:, 0].sum())
        return total[:, 0], total[:, 1:]

    def _draw_vectors(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Draw `[size, d]` vectors from all ranks, the same on every rank, different ones where there are enough.

        Also returns a bool scalar: whether all vectors of all ranks are finite.
        """
        count = -(-self.size // world_size())
        rows = torch.randperm(len(vectors), device=vectors.device).repeat(-(-count // len(vectors)))[:count]
        drawn = torch.where(vectors.isfinite().all(), vectors[rows], float("nan"))
        pool = gather_over_ranks(drawn)
        return pool[: self.size], pool.isfinite().all()


class LearnedCodebook(Codebook):
    """Entries learned by gradient, looked up by cosine similarity (DAC, section 3.2; ViT-VQGAN).

    The codebook loss is the mean squared distance between chosen entries and their vectors; k-means uses the same
    similarity. A restarted entry keeps the optimizer's moments: having had almost no gradient for 1 / (1 − `decay`)
    batches, its momentum has decayed.
    """

    def register_table(self, table: Tensor) -> None:
        self.table = nn.Parameter(table)

    def nearest(self, vectors: Tensor) -> Tensor:
        return distances(F.normalize(vectors, dim=-1), F.normalize(self.table, dim=-1)).argmin(-1)

    def codebook_loss(self, entries: Tensor, vectors: Tensor) -> Tensor:
        return F.mse_loss(entries, vectors)

    def update_table(self, means: Tensor, share: Tensor) -> None:
        """Nothing to do: the optimizer updates the table."""


class EMACodebook(Codebook):
    """Entries that are moving averages of their vectors, looked up by Euclidean distance (VQ-VAE-2; EnCodec)."""

    def register_table(self, table: Tensor) -> None:
        self.register_buffer("table", table)

    def nearest(self, vectors: Tensor) -> Tensor:
        return distances(vectors, self.table).argmin(-1)

    def codebook_loss(self, entries: Tensor, vectors: Tensor) -> Tensor:
        return vectors.new_zeros(())

    def update_table(self, means: Tensor, share: Tensor) -> None:
        moved = self.table.lerp(means, share[:, None])
        self.table.copy_(torch.where(share[:, None] > 0, moved, self.table))


def distances(left: Tensor, right: Tensor) -> Tensor:
    """Euclidean distances `[N, M]` of vectors `[N, d]` and `[M, d]`, from the sums of their squared differences.

    Expanded into a matrix product, as `torch.cdist` computes them by default, they lose digits by an amount that
    depends on the machine, and so would the nearest entry.
    """
    return torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
