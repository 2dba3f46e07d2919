"""The type of what makes an optimizer: Lightning's, but without jsonargparse, which only the command line needs."""

from collections.abc import Callable, Iterable

from torch.optim import Optimizer

OptimizerCallable = Callable[[Iterable], Optimizer]  # as `lightning.pytorch.cli` has it
