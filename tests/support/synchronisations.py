"""Counts on a CPU what would make the host wait for a GPU: reading values, data-dependent shapes, blocking copies.

Without a GPU both kinds of tensors lie on the host, so each tensor is followed. One that was made without a device, and
what is computed from such tensors alone, would lie on the host of a GPU run too, and its device is `cpu`. All others
would not, and say that theirs is `cpu:0`.
"""

import sys
import traceback
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from tests.support.paths import ROOT

FACTORIES = {torch.tensor, torch.as_tensor, torch.from_numpy, torch.rand, torch.randn, torch.randint, torch.randperm,
             torch.zeros, torch.ones, torch.full, torch.empty, torch.arange, torch.linspace, torch.eye}  # fmt: skip
FROM_HOST_VALUES = {torch.tensor, torch.as_tensor}
READS = {"tolist", "numpy", "__array__", "__bool__", "__float__", "__int__", "__index__", "item", "cpu", "equal",
         "allclose", "is_nonzero"}  # fmt: skip
SHAPES = {"nonzero", "unique", "unique_consecutive", "masked_select", "argwhere", "repeat_interleave", "bincount"}
DEVICE_OF = Tensor.device.__get__  # type: ignore[attr-defined]
FROM_NUMPY = torch.from_numpy
THERE = torch.device("cpu", 0)
MOVES = {"to", "copy_", "cuda"}
LIBRARIES = (
    "utils/clip_grad.py",  # asks PyTorch's C++ side for the device, which knows nothing of this
    "logger_connector/result.py",  # moves a logged value's sum to the value's device, once for each name
    "utilities/apply_func.py",  # moves a batch to a GPU without blocking
)


class Synchronisations(TorchFunctionMode):
    """While active, notes each call that would wait, as "function file:line"; `step` tells the steps apart."""

    def __init__(self) -> None:
        super().__init__()
        self.step = 0
        self.found: list[tuple[int, str]] = []
        self._inner = _Values(self)

    def __enter__(self) -> "Synchronisations":
        torch.from_numpy = _from_numpy  # a function that no mode sees
        self._inner.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        torch.from_numpy = FROM_NUMPY
        super().__exit__(*error)
        self._inner.__exit__(*error)

    def at(self, step: int) -> list[str]:
        """What was found in a step."""
        return [place for found, place in self.found if found == step]

    def note(self, name: str) -> None:
        """Note a call with the innermost line of this project that made it."""
        self.found.append((self.step, f"{name} {_place()}"))

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        if func == DEVICE_OF:
            return torch.device("cpu") if is_host(args[0]) else THERE
        name = getattr(func, "__name__", "")
        before = len(self.found)
        result = func(*args, **kwargs)
        del self.found[before:]  # what the call did inside counts as one
        inputs = list(tensors((args, kwargs)))
        device = [value for value in inputs if not is_host(value)]
        target = _target(args[1:], kwargs)
        host = not device if target is None else target.index is None
        if (func in FACTORIES and target is None) or isinstance(kwargs.get("generator"), torch.Generator):
            host = True  # generators are on the host here: a GPU's tensor would not be drawn with one
        if name == "cpu" or (target is not None and host):
            result, host = (result.clone(), True) if device else (result, True)  # on a CPU they would be one tensor
        self._watch(func, name, device, args, kwargs)
        waits = device and target is not None and host and not kwargs.get("non_blocking")
        if waits and not _called_from(LIBRARIES):
            self.note(f"{name} to the host")
        for value in tensors(result):
            if not any(value is one for one in inputs):
                mark(value, host)
        return result

    def _watch(self, func: Any, name: str, device: list[Tensor], args: tuple, kwargs: dict) -> None:
        reads = name in READS or (name in SHAPES and not _known_length(name, args, kwargs))
        if device and reads:
            self.note(name)
        elif device and name in ("__getitem__", "__setitem__") and _masks(args[1]):
            self.note(f"{name} with a mask")
        elif not device and name in MOVES and _there(args[1:], kwargs) and not kwargs.get("non_blocking"):
            if not _called_from(LIBRARIES):
                self.note(f"{name} from pageable memory")
        elif func in FROM_HOST_VALUES and _there((), kwargs):
            self.note(f"{name} on the device")


class _Values(TorchDispatchMode):
    """Notes values that are read inside of PyTorch's own operations."""

    def __init__(self, owner: Synchronisations) -> None:
        super().__init__()
        self.owner = owner

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        waits = func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
        if waits and not is_host(args[0]):
            self.owner.note(str(func))
        return func(*args, **(kwargs or {}))


def _from_numpy(array: Any) -> Tensor:
    tensor = FROM_NUMPY(array)
    mark(tensor, host=True)
    return tensor


def tensors(nest: Any) -> Iterator[Tensor]:
    """The tensors of a nest of lists, tuples and dicts."""
    if isinstance(nest, Tensor):
        yield nest
    elif isinstance(nest, list | tuple):
        for item in nest:
            yield from tensors(item)
    elif isinstance(nest, dict):
        for item in nest.values():
            yield from tensors(item)


def mark(tensor: Tensor, host: bool) -> None:
    """Say where a tensor would lie."""
    tensor.__dict__["on_host"] = host


def is_host(tensor: Tensor) -> bool:
    """Whether a tensor would lie on the host."""
    return bool(tensor.__dict__.get("on_host", False))


def _target(args: tuple, kwargs: dict) -> torch.device | None:
    """The device that a call names, None where it names none."""
    named = [value for value in (*args, kwargs.get("device")) if isinstance(value, torch.device)]
    return named[0] if named else None


def _there(args: tuple, kwargs: dict) -> bool:
    """Whether a call names the device, or another tensor on it."""
    target = _target(args, kwargs)
    return target == THERE or any(isinstance(value, Tensor) and not is_host(value) for value in args)


def _known_length(name: str, args: tuple, kwargs: dict) -> bool:
    """Whether a repetition states how long its result is."""
    stated = kwargs.get("output_size") is not None or isinstance(args[1] if len(args) > 1 else None, int)
    return name == "repeat_interleave" and stated


def _masks(index: Any) -> bool:
    return any(value.dtype in (torch.bool, torch.uint8) for value in tensors(index))


def _called_from(files: tuple[str, ...]) -> bool:
    """Whether one of the callers is in one of the files."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename.endswith(files):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _place() -> str:
    """The innermost line of this project, or of Lightning where it calls by itself, outside of this file."""
    frames = [f for f in traceback.extract_stack() if not f.filename.endswith("support/synchronisations.py")]
    own = [f for f in frames if f.filename.startswith(str(ROOT)) and "site-packages" not in f.filename]
    others = [f for f in frames if "/lightning/" in f.filename]
    frame = (own or others or frames)[-1]
    return f"{frame.filename.removeprefix(str(ROOT) + '/')}:{frame.lineno} {frame.name}"
