"""Ranks of a distributed run: how many there are, and the tensors of all of them."""

import torch
import torch.distributed as dist
from torch import Tensor


def world_size() -> int:
    """Number of ranks, 1 outside a distributed run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_over_ranks(rows: Tensor) -> Tensor:
    """All ranks' rows, rank after rank: `[N, d]` on each rank, with the same N, to `[ranks · N, d]` on every rank."""
    if world_size() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)
