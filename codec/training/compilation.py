"""`torch.compile` for training steps, whose batches have one shape, and not for evaluation, whose clips have many."""

from collections.abc import Iterable

import torch
from torch import nn


def compile_parts(parts: Iterable[nn.Module]) -> None:
    """Compile modules for the shapes they meet in training; shapes are constants of the compiled code."""
    for part in parts:
        part.compile(dynamic=False)


def run_compiled_code(*, allowed: bool) -> None:
    """Let compiled modules run their compiled code, or all of them as they are written, from now on.

    Evaluation runs them as written: clips of any length would each compile anew, or make the training's code dynamic.
    """
    torch.compiler.set_stance("default" if allowed else "force_eager")
