"""Residual vector quantization after SoundStream, EnCodec (arXiv 2210.13438) and DAC (arXiv 2306.06546)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from codec.quantizers.base import Quantizer, QuantizerOutput


class Match(NamedTuple):
    """The entries nearest to vectors `[N, d]`: int64 indices `[N]`, entries `[N, d]`, and the codebook's own loss."""

    indices: Tensor
    entries: Tensor
    loss: Tensor


class Codebook(nn.Module, ABC):
    """A table of `size` entries of width `dim` that learns to lie where the vectors are."""

    size: int
    dim: int

    @abstractmethod
    def match(self, vectors: Tensor) -> Match:
        """Find the nearest entries to float32 `[N, d]`; in training mode also learn."""

    @abstractmethod
    def entries(self) -> Tensor:
        """The table `[size, dim]`."""


class LearnedCodebook(Codebook):
    """Entries learned by gradient, looked up by cosine similarity (DAC, section 3.2; ViT-VQGAN).

    Its loss pulls each chosen entry towards its vectors.
    """

    def __init__(self, size: int = 256, dim: int = 8) -> None:
        super().__init__()
        self.size, self.dim = size, dim
        self.table = nn.Parameter(torch.randn(size, dim))

    def match(self, vectors: Tensor) -> Match:
        similarity = F.normalize(vectors, dim=-1) @ F.normalize(self.table, dim=-1).T
        indices = similarity.argmax(-1)
        entries = self.table[indices]
        return Match(indices, entries.detach(), F.mse_loss(entries, vectors.detach()))

    def entries(self) -> Tensor:
        return self.table


class EMACodebook(Codebook):
    """Entries that follow the moving mean of their vectors, looked up by Euclidean distance (VQ-VAE-2; EnCodec).

    The first batch seeds the table by k-means; an entry used less than `restart_below` times per batch on average is
    moved to a vector of the batch. Counts, sums and the vectors that restarts draw from are reduced over ranks and the
    draws are alike, so all ranks hold the same table after every step.

    Args:
        size: entries.
        dim: their width.
        decay: share of the moving mean kept at each batch.
        restart_below: expected uses per batch below which an entry is restarted.
        kmeans_rounds: of the first batch.
        seed: of k-means and restarts.
    """

    table: Tensor
    counts: Tensor
    sums: Tensor
    batches: Tensor

    def __init__(
        self,
        size: int = 256,
        dim: int = 8,
        *,
        decay: float = 0.99,
        restart_below: float = 0.5,
        kmeans_rounds: int = 10,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.size, self.dim, self.decay, self.restart_below = size, dim, decay, restart_below
        self.kmeans_rounds, self.seed = kmeans_rounds, seed
        self.register_buffer("table", torch.randn(size, dim, generator=torch.Generator().manual_seed(seed)))
        self.register_buffer("counts", torch.ones(size))
        self.register_buffer("sums", self.table.clone())
        self.register_buffer("batches", torch.zeros((), dtype=torch.long))

    def match(self, vectors: Tensor) -> Match:
        if self.training:
            self._seed_table(vectors.detach())
        indices = torch.cdist(vectors, self.table).argmin(-1)
        entries = self.table[indices]
        if self.training:
            self._follow(vectors.detach(), indices)
        return Match(indices, entries, vectors.new_zeros(()))

    def entries(self) -> Tensor:
        return self.table

    @torch.no_grad()
    def _seed_table(self, vectors: Tensor) -> None:
        """k-means on the first batch of all ranks."""
        if self.batches > 0:
            return
        pool = over_ranks(vectors)
        if not bool(pool.isfinite().all()):
            return
        self.table.copy_(pool[self._draw(len(pool))])
        for _ in range(self.kmeans_rounds):
            indices = torch.cdist(pool, self.table).argmin(-1)
            counts, sums = self._tally(pool, indices)
            self.table.copy_(torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1), self.table))
        self.counts.copy_(counts)
        self.sums.copy_(self.table * counts[:, None])

    @torch.no_grad()
    def _follow(self, vectors: Tensor, indices: Tensor) -> None:
        """Move entries to the mean of their vectors, and unused ones to vectors of this batch."""
        counts, sums = self._tally(vectors, indices)
        if distributed():
            both = torch.cat((counts[:, None], sums), 1)
            dist.all_reduce(both)
            counts, sums = both[:, 0], both[:, 1:]
        if not bool(sums.isfinite().all()):  # a broken batch leaves the table alone, on every rank
            return
        self.counts.lerp_(counts, 1 - self.decay)
        self.sums.lerp_(sums, 1 - self.decay)
        self.batches += 1
        self.table.copy_(self.sums / self.counts.clamp_min(1e-5)[:, None])
        unused = self.counts < self.restart_below
        pool = over_ranks(vectors)
        fresh = pool[self._draw(len(pool))]
        self.table.copy_(torch.where(unused[:, None], fresh, self.table))
        self.counts.masked_fill_(unused, 1.0)
        self.sums.copy_(torch.where(unused[:, None], fresh, self.sums))

    def _tally(self, vectors: Tensor, indices: Tensor) -> tuple[Tensor, Tensor]:
        """How often each entry was chosen `[size]`, and the sum of its vectors `[size, dim]`."""
        counts = torch.zeros_like(self.counts).index_add_(0, indices, vectors.new_ones(len(indices)))
        return counts, torch.zeros_like(self.sums).index_add_(0, indices, vectors)

    def _draw(self, among: int) -> Tensor:
        """`size` places below `among`, distinct where there are enough; the same on every rank."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.batches))
        places = torch.randperm(among, generator=generator)
        return places.repeat(-(-self.size // among))[: self.size].to(self.table.device)


class RVQ(Quantizer):
    """K codebooks, each coding what those before it left over.

    A stage projects the residual to the codebook's width (factorised codes, DAC section 3.2; no projection where the
    widths agree), looks it up, projects back and subtracts. The gradient passes each lookup straight through, which
    for equal widths makes the gradient of the whole exactly one. The commitment loss of every stage reaches the
    encoder, because its residual is taken with the earlier stages' outputs held constant.

    Args:
        dim: latent width D.
        codebooks: one per stage, of one or several kinds.
        commitment: weight of the commitment loss against the codebooks' own (DAC: 0.25).
        dropout: probability per training clip of using a random number of stages from 1 to K − 1 only, so that
            fewer stages make a lower bit-rate.
    """

    def __init__(
        self, dim: int, codebooks: Sequence[Codebook], *, commitment: float = 0.25, dropout: float = 0.0
    ) -> None:
        super().__init__()
        if not codebooks:
            raise ValueError("codebooks [] must be at least one, for example two codec.LearnedCodebook of size 256.")
        if not 0.0 <= dropout <= 1.0:
            raise ValueError(f"dropout {dropout} must lie in [0, 1].")
        self.dim, self.codebook_sizes = dim, tuple(book.size for book in codebooks)
        self.commitment, self.dropout = commitment, dropout
        self.codebooks = nn.ModuleList(codebooks)
        self.project_in = nn.ModuleList(_projection(dim, book.dim) for book in codebooks)
        self.project_out = nn.ModuleList(_projection(book.dim, dim) for book in codebooks)

    def forward(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            x = latents.float().transpose(1, 2)  # [B, F, D]
            used = self._stages(x)  # [B, K]
            straight, held = x, x  # the residual with the lookups' straight-through gradient, and with them constant
            total, codes, losses = torch.zeros_like(x), [], []
            for stage, book in enumerate(self.codebooks):
                z = self.project_in[stage](held)
                indices, entries, loss = book.match(z.flatten(0, 1))  # type: ignore[operator]
                entries = entries.view_as(z)
                losses.append(loss + self.commitment * F.mse_loss(z, entries))
                passed = self.project_in[stage](straight)
                y = self.project_out[stage](passed + (entries - passed).detach()) * used[:, stage, None, None]
                total, straight, held = total + y, straight - y, held - y.detach()
                codes.append(indices.view(z.shape[:2]))
        return QuantizerOutput(total.transpose(1, 2), torch.stack(codes, 1), torch.stack(losses).mean())

    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            total = torch.zeros((), device=codes.device)
            for stage, book in enumerate(self.codebooks):
                y = self.project_out[stage](F.embedding(codes[:, stage], book.entries()))  # type: ignore[operator]
                total = total + (y if erased is None else y.masked_fill(erased[:, stage, :, None], 0.0))
            return total.transpose(1, 2)  # [B, D, F]

    def _stages(self, x: Tensor) -> Tensor:
        """1 for each clip's stages in use `[B, K]`, else 0."""
        stages = len(self.codebooks)
        used = x.new_ones(x.shape[0], stages)
        if self.training and self.dropout > 0 and stages > 1:
            kept = torch.randint(1, stages, (x.shape[0], 1), device=x.device)
            short = torch.rand(x.shape[0], 1, device=x.device) < self.dropout
            used = torch.where(short & (torch.arange(stages, device=x.device) >= kept), 0.0, used)
        return used


def _projection(width_in: int, width_out: int) -> nn.Module:
    return nn.Identity() if width_in == width_out else nn.Linear(width_in, width_out)


def distributed() -> bool:
    """Whether several ranks train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def over_ranks(vectors: Tensor) -> Tensor:
    """All ranks' vectors `[N, d]`, which hold equally many each, one after the other."""
    if not distributed():
        return vectors
    parts = [torch.empty_like(vectors) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, vectors.contiguous())
    return torch.cat(parts)
