"""Compilation of parts by `torch.compile` for the fixed shapes of training; all else runs them as they are."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import nn


def compile_parts(
    parts: Iterable[nn.Module], trained: nn.Module, *, backend: str | Callable[..., Any] = "inductor"
) -> None:
    """Run parts through `torch.compile` while `trained` is in training mode, and as they are in evaluation mode.

    Crops all have one length, so shapes are static: a graph for every shape would be compiled anew for each length of a
    clip, and one for all shapes is slower. Validation, its sanity check, and test thus compile nothing. Compilation
    happens at the first call; parts that have been compiled before are compiled again. Neither a checkpoint nor a copy
    of a part knows of it.

    Args:
        parts: modules that are called as such, in training mode or not.
        trained: the module whose mode decides, for example that of Lightning, in which some parts may be frozen.
        backend: of `torch.compile`.
    """
    for part in parts:
        part.compile(dynamic=False, backend=backend)
        compiled = part._compiled_call_impl
        assert compiled is not None
        part._compiled_call_impl = _in_training(trained, compiled, part)


def release_parts(parts: Iterable[nn.Module]) -> None:
    """Run parts as they are from now on."""
    for part in parts:
        part._compiled_call_impl = None


def _in_training(trained: nn.Module, compiled: Callable[..., Any], part: nn.Module) -> Callable[..., Any]:
    """The call of a part: compiled where `trained` is in training mode."""

    def call(*args: Any, **kwargs: Any) -> Any:
        return compiled(*args, **kwargs) if trained.training else part._call_impl(*args, **kwargs)

    return call
