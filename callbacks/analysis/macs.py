"""Multiply-accumulates of a part of a codec, counted on tensors without values, the same on every machine."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from codec.encoders.semantic import W2VBertEncoder
from codec.errors import InvalidValue, first_line


def count_macs(part: nn.Module, shape: Sequence[int]) -> int:
    """Multiply-accumulates of a part's forward pass in evaluation mode, for float32 input of a shape.

    Counted are convolutions, with their padding; matrix products, among them mel filter banks, which are dense
    matrices here; both products of attention, queries with keys and scores with values, also for keys that the mask of
    a block hides; distances of N vectors to a codebook, N · width · size. Filters that change the sample rate
    (`codec.layers.anti_aliased`) count by their taps: an output sample at the doubled rate costs half the taps, as the
    others meet stuffed zeros, and one at the halved rate all of them. Not counted are FFTs and windows, norms,
    activations, softmax, rotary embeddings, and whatever else works element by element or looks up entries.

    The part is copied to tensors without values or memory, so that the count does not depend on the weights, on the
    device on which the part lies, or on the machine. These are PyTorch's fake tensors, under the name of the CPU:
    autocast, which the parts switch off, does not know the device `meta`. Features that a `TeacherCache` stores count
    as computed.

    Args:
        part: any module with one input.
        shape: of the input.

    Raises:
        InvalidValue: the part reads the values of a tensor, does not take this input, or is an `ExternalCodec`'s.
    """
    if getattr(part, "is_external", False):
        raise InvalidValue(type(part).__name__, None, "is computed by another package and cannot be counted")
    unfused = sdpa_kernel(SDPBackend.MATH)  # attention as two products on every machine
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    try:
        with torch.no_grad(), FakeTensorMode(allow_non_fake_inputs=True):
            empty = _without_values(part)
            with unfused, counter:
                empty(torch.empty(tuple(shape)))
    except RuntimeError as error:
        problem = f"cannot be counted without values ({first_line(error)})"
        raise InvalidValue(type(part).__name__, None, problem, "compute in tensors alone, without `item()`") from error
    return counter.get_total_flops() // 2


def _without_values(part: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose tensors have shapes alone, in float32, without hooks; inside a FakeTensorMode."""
    replaced: dict[int, Any] = {}  # copies of objects by their id, as `copy.deepcopy` takes them
    for module in part.modules():
        own = chain(vars(module).values(), module._parameters.values(), module._buffers.values())
        for tensor in (value for value in own if isinstance(value, Tensor)):
            empty = torch.empty(tensor.shape, dtype=torch.float32 if tensor.is_floating_point() else tensor.dtype)
            is_parameter = isinstance(tensor, nn.Parameter)
            replaced[id(tensor)] = nn.Parameter(empty, requires_grad=False) if is_parameter else empty
        for name, value in vars(module).items():
            if name.endswith("_hooks") and isinstance(value, dict):  # a hook may hold the trainer
                replaced[id(value)] = type(value)()
    with ready_to_measure([part]):
        return copy.deepcopy(part, replaced)


def _formulas() -> dict[Any, Any]:
    """Operations that PyTorch's counter does not know; like its own formulas, each gives two for a multiply-accumulate.

    They are not registered for all counters, as those of the GPU tests compare matrix products with a card's peak.
    """
    return {
        torch.ops.codec.anti_aliased_snake: _filter_operations,
        torch.ops.aten._cdist_forward: _distance_operations,
        torch.ops.aten._euclidean_dist: _distance_operations,
    }


def _filter_operations(x: Sequence[int], alpha: object, beta: object, lowpass: Sequence[int], **_: object) -> int:
    """Up: 2T samples of half the taps each. Down: T samples of all taps. Shapes `[B, C, T]` and `[taps]`."""
    (taps,) = lowpass
    return 2 * math.prod(x[:-1]) * (2 * x[-1] * taps // 2 + x[-1] * taps)


def _distance_operations(vectors: Sequence[int], entries: Sequence[int], *_: object, out_shape: object = None) -> int:
    """Distances of `[..., N, d]` to `[..., size, d]`, as a product."""
    return 2 * math.prod(vectors) * entries[-2]


@contextmanager
def ready_to_measure(parts: Sequence[nn.Module]) -> Iterator[None]:
    """Inside, parts are in evaluation mode and compute what they otherwise read from a cache on disk."""
    modules = list(dict.fromkeys(module for part in parts for module in part.modules()))
    training = [module.training for module in modules]
    caches = [(module, module.cache) for module in modules if isinstance(module, W2VBertEncoder)]
    try:
        for encoder, _ in caches:
            encoder.cache = None
        for part in parts:
            part.eval()
        yield
    finally:
        for encoder, cache in caches:
            encoder.cache = cache
        for module, mode in zip(modules, training, strict=True):
            module.training = mode
