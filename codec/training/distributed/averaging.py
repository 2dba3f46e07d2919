"""Means over the ranks of a distributed run: of gradients, and of any tensors."""

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from codec.layers.ranks import world_size


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace gradients by their mean over ranks; those of sharded parameters are that already (FSDP).

    Every rank reduces every parameter, with zeros where it has no gradient, so ranks never disagree on the collectives.
    """
    if world_size() == 1:
        return
    parameters = [parameter for parameter in parameters if not isinstance(parameter, DTensor)]
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    average_over_ranks([p.grad for p in parameters if p.grad is not None])


def average_over_ranks(tensors: Sequence[Tensor], *, bucket: int = 2**25) -> None:
    """Replace tensors by their mean over ranks, in place, all-reduced in buckets of about `bucket` numbers."""
    if world_size() == 1:
        return
    pending: list[Tensor] = []
    for index, tensor in enumerate(tensors):
        pending.append(tensor)
        if sum(t.numel() for t in pending) >= bucket or index == len(tensors) - 1:
            flat = torch.cat([t.flatten() for t in pending])
            dist.all_reduce(flat)
            means = (flat / world_size()).split([t.numel() for t in pending])
            torch._foreach_copy_(pending, [m.view_as(t) for m, t in zip(means, pending, strict=True)])
            pending = []
