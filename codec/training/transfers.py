"""Copies from the device to the host in few pieces: each copy of its own waits for the device."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from codec.checkpoints.pieces import cut_by_bytes

PIECE = 2**28  # bytes that are copied at once, and that the copy takes on the device for a moment


def fetch_values(values: Mapping[str, Tensor | float]) -> dict[str, float]:
    """Scalars as Python numbers, with one copy for all that lie on a device."""
    found = {name: float(value) for name, value in values.items() if not _on_device(value)}
    there = {name: value for name, value in values.items() if isinstance(value, Tensor) and _on_device(value)}
    if there:
        stacked = torch.stack([value.detach().double().reshape(()) for value in there.values()])
        found |= dict(zip(there, stacked.tolist(), strict=True))
    return {name: found[name] for name in values}


def fetch_state(state: Any) -> Any:
    """A nest of dicts, lists and tuples with its device tensors on the host; all else is as it was.

    Tensors of one type are joined and copied together. A tensor that the nest holds several times stays one; views of
    one storage become tensors of their own. Tensors sharded over ranks are left where they are.
    """
    found: dict[int, Tensor] = {}
    _visit(state, lambda value: found.setdefault(id(value), value))
    tensors = list(found.values())
    copies = dict(zip(found, fetch_tensors(tensors), strict=True))
    return _visit(state, lambda value: copies[id(value)])


def fetch_tensors(tensors: Sequence[Tensor], *, piece: int = PIECE) -> list[Tensor]:
    """Copies on the host of tensors of any types and shapes, contiguous, of about `piece` bytes at a time."""
    copies: list[Tensor] = [torch.empty(0)] * len(tensors)
    for group in _groups(tensors, piece):
        flat = torch.cat([tensors[index].detach().reshape(-1) for index in group]).cpu()
        lengths = [tensors[index].numel() for index in group]
        for index, part in zip(group, flat.split(lengths), strict=True):
            copies[index] = part.clone().view(tensors[index].shape)  # else each would be saved with its whole piece
    return copies


def _groups(tensors: Sequence[Tensor], piece: int) -> Iterable[list[int]]:
    """Numbers of the tensors of one type and device that are copied together."""
    kinds: dict[Any, list[int]] = {}
    for index, tensor in enumerate(tensors):
        kinds.setdefault((tensor.dtype, tensor.device), []).append(index)
    for members in kinds.values():
        yield from cut_by_bytes({index: tensors[index] for index in members}, piece)


def _on_device(value: object) -> bool:
    """Whether a value is a plain tensor that does not lie on the host."""
    return type(value) in (Tensor, torch.nn.Parameter) and not value.is_cpu  # type: ignore[attr-defined]


def _visit(state: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """A copy of the nest in which `change` has replaced each device tensor."""
    if _on_device(state):
        return change(state)
    if type(state) in (list, tuple):
        return type(state)(_visit(item, change) for item in state)
    if isinstance(state, dict):
        items = [(key, _visit(item, change)) for key, item in state.items()]
        if all(new is old for (_, new), old in zip(items, state.values(), strict=True)):
            return state
        changed = copy.copy(state)  # of the same kind, with what is attached to it, such as a state dict's versions
        changed.update(items)
        return changed
    return state
