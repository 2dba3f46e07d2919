"""Padding of signals by reflection, by operations whose gradients are deterministic on CUDA."""

import torch
from torch import Tensor

from codec.errors import InvalidValue


def reflect_ends(x: Tensor, before: int, after: int) -> Tensor:
    """Extend the last axis by its mirror image at both ends; the end samples are not repeated.

    Values and gradients are those of `torch.nn.functional.pad(x, (before, after), mode="reflect")`, whose gradient has
    no deterministic form on CUDA and raises under `--trainer.deterministic true`.

    Args:
        x: `[..., T]`, any number of axes before the last.
        before: samples to add at the start, 0 to T − 1.
        after: samples to add at the end, 0 to T − 1.

    Returns:
        `[..., before + T + after]`; `x` itself where nothing is added.

    Raises:
        InvalidValue: `before` or `after` is negative or not below T.
    """
    length = x.shape[-1]
    if not (0 <= before < length and 0 <= after < length):
        raise InvalidValue(
            "Padding by reflection of",
            f"{before} and {after} samples",
            f"needs a longer signal than {length} samples",
            "take longer crops",
        )
    pieces = [x]
    if before:
        pieces.insert(0, x[..., 1 : before + 1].flip(-1))
    if after:
        pieces.append(x[..., length - 1 - after : -1].flip(-1))
    return torch.cat(pieces, -1) if len(pieces) > 1 else x
