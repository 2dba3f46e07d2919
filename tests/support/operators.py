"""Names of the operators that run, in the backward pass too."""

import lightning as L
from torch.utils._python_dispatch import TorchDispatchMode


class OperatorNames(TorchDispatchMode):
    """Context manager that keeps the name of every operator that runs inside, as `names`."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.__name__)
        return func(*args, **(kwargs or {}))


class DuringTraining(L.Callback):
    """Keeps a dispatch mode, `mode`, active from the start of training to its end."""

    def __init__(self, mode: TorchDispatchMode) -> None:
        self.mode = mode

    def on_train_start(self, *_):
        self.mode.__enter__()

    def on_train_end(self, *_):
        self.mode.__exit__(None, None, None)
