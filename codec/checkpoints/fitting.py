"""Checks that a stated configuration fits weights before memory is spent on it."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

Module = TypeVar("Module", bound=nn.Module)
REGISTRATIONS = 4  # of one parameter: a weight norm registers its parts in place of the weight


def check_fit(build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> None:
    """Build a module without memory for its tensors and compare their names and shapes with `weights`.

    Raises:
        ValueError: the configuration is none, or is of another or a larger module than the weights are.
    """
    try:
        with _at_most(REGISTRATIONS * len(weights)):
            expected = build_empty(build).state_dict()
    except Exception as error:  # whatever a constructor makes of odd arguments
        raise ValueError(f"no codec can be built: {str(error).strip()[:300]}") from error
    for name, value in expected.items():
        if name not in weights:
            raise ValueError(f"there is no {name}")
        if weights[name].shape != value.shape:
            found, wanted = list(weights[name].shape), list(value.shape)
            raise ValueError(f"{name} is {found}, not {wanted}")
    further = sorted(str(name)[:100] for name in weights.keys() - expected.keys())
    if further:
        raise ValueError(f"{further[0]} is not of this codec")


def build_empty(build: Callable[[], Module]) -> Module:
    """Build a module without memory for its tensors, or with it where a part looks at its own numbers."""
    try:
        with torch.device("meta"):
            return build()
    except (NotImplementedError, RuntimeError) as error:
        if "meta tensors" not in str(error):
            raise
    return build()


@contextmanager
def _at_most(registrations: int) -> Iterator[None]:
    """Inside, building modules with more parameters than so many raises a ValueError."""
    left = registrations

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise ValueError("it has far more weights than the file")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
