"""Ranks of a distributed run: how many there are, and the tensors and objects of all of them."""

from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Item = TypeVar("Item")

_waiting_groups: list[tuple[Any, Any]] = []  # the default process group, and the waiting group that belongs to it


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


def make_waiting_group(timeout: timedelta) -> None:
    """Make the group in which ranks may wait for each other for `timeout`; every rank must call this.

    It communicates between CPUs (gloo): objects take no GPU memory, a wait synchronises no GPU, and no watchdog of NCCL
    ends a rank that waits for another one's scores. It lives as long as the default process group.
    """
    default = dist.group.WORLD
    if not any(owner is default for owner, _ in _waiting_groups):
        _waiting_groups[:] = [(default, dist.new_group(backend="gloo", timeout=timeout))]


def waiting_group() -> Any:
    """The group of `make_waiting_group`; None, which stands for the default group, where none has been made."""
    default = dist.group.WORLD
    return next((group for owner, group in _waiting_groups if owner is default), None)


def gather_objects(item: Item) -> list[Item]:
    """One picklable object from every rank, in rank order, on every rank; every rank must call this."""
    if world_size() == 1:
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item, group=waiting_group())
    return items


def broadcast_object(item: Item, *, source: int = 0) -> Item:
    """The picklable object of rank `source` on every rank; every rank must call this."""
    if world_size() == 1:
        return item
    items = [item]
    dist.broadcast_object_list(items, source, group=waiting_group())
    return items[0]


def wait_for_ranks() -> None:
    """Return when every rank has called this, without waiting for GPUs."""
    gather_objects(None)
