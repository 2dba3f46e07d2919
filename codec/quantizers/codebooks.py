"""Codebooks of RVQ: learned by gradient (DAC, arXiv 2306.06546) or as moving means (VQ-VAE-2, arXiv 1906.00446)."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.ranks import gather_over_ranks, world_size

LEAST_USAGE = 1e-8  # keeps a division by an entry's uses finite


class Match(NamedTuple):
    """The entries nearest to vectors `[N, d]`: int64 indices `[N]`, entries `[N, d]`, and the codebook's own loss."""

    indices: Tensor
    entries: Tensor
    loss: Tensor


class Codebook(nn.Module, ABC):
    """A table `[size, dim]` that learns to lie where the vectors are, with no entry idle.

    Before the lookup of each training batch, entries that are hardly used restart on vectors of that batch; the first
    batch places all of them, and k-means moves them to its clusters. Ranks tally together and restart on the same
    vectors, each offering equally many of its own however many it has, so tables stay bit-identical. A batch that is
    not finite on some rank teaches nothing on any. All state is in buffers, and draws come from the global generator.

    Args:
        size: entries.
        dim: their width.
        decay: share of the usage statistics, and of a moving mean, kept at each batch; (1 + n) / (10 + n) at the n-th
            where that is less, as the latents change fast at first.
        restart_below: uses, over those of evenly used entries, below which an entry restarts; 0 for never.
        kmeans_rounds: of the first batch.

    Raises:
        ValueError: a number is out of range.
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
        if size < 2 or dim < 1 or kmeans_rounds < 0:
            raise ValueError(
                f"size {size}, dim {dim} and kmeans_rounds {kmeans_rounds} must be at least 2, 1 and 0, for example "
                "256, 8 and 10."
            )
        if not 0.0 <= decay < 1.0 or not 0.0 <= restart_below < 1.0:
            raise ValueError(f"decay {decay} and restart_below {restart_below} must lie in [0, 1).")
        self.size, self.dim, self.decay = size, dim, decay
        self.restart_below, self.kmeans_rounds = restart_below, kmeans_rounds
        self.hold(torch.randn(size, dim))
        self.register_buffer("usage", torch.ones(size))  # moving mean of each entry's uses, 1 for an even share
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))  # that have taught

    @abstractmethod
    def hold(self, table: Tensor) -> None:
        """Make `table` a parameter or a buffer."""

    @abstractmethod
    def nearest(self, vectors: Tensor) -> Tensor:
        """Indices `[N]` of the entries nearest to float32 `[N, d]`."""

    @abstractmethod
    def pull(self, entries: Tensor, vectors: Tensor) -> Tensor:
        """The loss, a scalar, that moves chosen entries `[N, d]` towards their vectors."""

    @abstractmethod
    def move(self, means: Tensor, share: Tensor) -> None:
        """Move the table without a loss: by `share [size]` of the way to the `means [size, d]` of its new vectors."""

    def match(self, vectors: Tensor) -> Match:
        """Find the nearest entries to float32 `[N, d]`; in training mode also learn."""
        sound = self._place(vectors.detach()) if self.training else None
        with torch.no_grad():
            indices = self.nearest(vectors)
        entries = F.embedding(indices, self.table)
        if sound is not None:
            self._count(vectors.detach(), indices, sound)
        return Match(indices, entries.detach(), self.pull(entries, vectors.detach()))

    @torch.no_grad()
    def _place(self, vectors: Tensor) -> Tensor:
        """Restart idle entries, all of them by k-means on the first batch; True where the batch is finite."""
        pool, sound = self._offer(vectors)
        idle = sound & ((self.usage < self.restart_below) | (self.batches == 0))
        self.table.copy_(torch.where(idle[:, None], pool, self.table))
        self.usage.masked_fill_(idle, 1.0)
        if bool(sound & (self.batches == 0)):
            for _ in range(self.kmeans_rounds):
                usage, sums = self._tally(vectors, self.nearest(vectors))
                means = sums / usage.clamp_min(LEAST_USAGE)[:, None]
                self.table.copy_(torch.where(usage[:, None] > 0, means, self.table))
                self.usage.copy_(usage)
        return sound

    @torch.no_grad()
    def _count(self, vectors: Tensor, indices: Tensor, sound: Tensor) -> None:
        """Let the statistics follow the batch, and the table as `move` will; nothing moves where `sound` is False."""
        usage, sums = self._tally(vectors, indices)
        warming = (1 + self.batches) / (10 + self.batches)
        rate = (1 - warming.clamp_max(self.decay)) * sound
        self.usage.lerp_(usage, rate)
        self.batches += sound
        share = rate * usage / self.usage.clamp_min(LEAST_USAGE)
        self.move(sums / usage.clamp_min(LEAST_USAGE)[:, None], share)

    def _tally(self, vectors: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Over all ranks, each entry's uses `[size]` and sum of vectors `[size, d]`, both over an even share."""
        counted = torch.cat((vectors.new_ones(len(vectors), 1), vectors), 1)
        total = vectors.new_zeros(self.size, self.dim + 1).index_add_(0, indices, counted)
        if world_size() > 1:
            dist.all_reduce(total)
        total = total * (self.size / total[:, 0].sum())
        return total[:, 0], total[:, 1:]

    def _offer(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Draw `[size, d]` vectors from all ranks, different ones where there are enough, the same on every rank.

        Returns them and, as a bool scalar, whether all vectors of all ranks are finite.
        """
        each = -(-self.size // world_size())
        places = torch.randperm(len(vectors), device=vectors.device).repeat(-(-each // len(vectors)))[:each]
        offered = torch.where(vectors.isfinite().all(), vectors[places], float("nan"))
        pool = gather_over_ranks(offered)
        return pool[: self.size], pool.isfinite().all()


class LearnedCodebook(Codebook):
    """Entries learned by gradient, looked up by cosine similarity (DAC, section 3.2; ViT-VQGAN).

    Its loss pulls each chosen entry towards its vectors. k-means clusters by the same similarity. A restarted entry
    keeps the optimizer's moments: with so little gradient over 1 / (1 − decay) batches, momentum has decayed away.
    """

    def hold(self, table: Tensor) -> None:
        self.table = nn.Parameter(table)

    def nearest(self, vectors: Tensor) -> Tensor:
        return (F.normalize(vectors, dim=-1) @ F.normalize(self.table, dim=-1).T).argmax(-1)

    def pull(self, entries: Tensor, vectors: Tensor) -> Tensor:
        return F.mse_loss(entries, vectors)

    def move(self, means: Tensor, share: Tensor) -> None:
        """The optimizer does."""


class EMACodebook(Codebook):
    """Entries that are the moving mean of their vectors, looked up by Euclidean distance (VQ-VAE-2; EnCodec)."""

    def hold(self, table: Tensor) -> None:
        self.register_buffer("table", table)

    def nearest(self, vectors: Tensor) -> Tensor:
        return torch.cdist(vectors, self.table).argmin(-1)

    def pull(self, entries: Tensor, vectors: Tensor) -> Tensor:
        return vectors.new_zeros(())

    def move(self, means: Tensor, share: Tensor) -> None:
        moved = self.table.lerp(means, share[:, None])
        self.table.copy_(torch.where(share[:, None] > 0, moved, self.table))
