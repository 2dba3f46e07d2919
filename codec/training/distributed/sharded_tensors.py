"""Tensors that ranks hold parts of (FSDP2's DTensors) beside whole ones: from one to the other and back."""

from collections.abc import Iterable

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together, on every rank, which all must call this; any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def part_of(tensor: Tensor, like: Tensor) -> Tensor:
    """This rank's part of a whole tensor where `like` is sharded, placed as that is; else the tensor as it is."""
    if not isinstance(like, DTensor) or isinstance(tensor, DTensor):
        return tensor
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def alike(tensors: Iterable[Tensor]) -> list[list[Tensor]]:
    """Whole and sharded tensors in lists of their own, as PyTorch's operations on lists take one kind only."""
    kinds: dict[bool, list[Tensor]] = {}
    for tensor in tensors:
        kinds.setdefault(isinstance(tensor, DTensor), []).append(tensor)
    return list(kinds.values())
