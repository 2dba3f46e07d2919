"""Tensors that are sharded over ranks (FSDP2's DTensors) next to ordinary ones: from one to the other and back."""

from collections.abc import Iterable

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def full_tensor(tensor: Tensor) -> Tensor:
    """A sharded tensor gathered on every rank, which all ranks must call together; an ordinary one as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def shard_like(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's shard of a full tensor where `like` is sharded, placed in the same way; else the tensor as it is."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def group_by_sharding(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Ordinary and sharded tensors in separate lists, as PyTorch's operations on lists take one kind only."""
    groups: dict[bool, list[Tensor]] = {}
    for tensor in tensors:
        groups.setdefault(isinstance(tensor, DTensor), []).append(tensor)
    return list(groups.values())
