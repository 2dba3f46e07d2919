"""`torch.compile` for training steps, whose batches have one shape, and not for evaluation, whose clips have many."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import nn


class CompiledTraining(L.LightningModule):
    """Compiles parts when `fit` begins; validation, test and prediction run all as written, callbacks' decoding too.

    In evaluation cuDNN does not search for fast algorithms (`trainer.benchmark`) either: it would search anew at each
    length of a clip.
    """

    _benchmark: bool | None = None  # cuDNN's setting before an evaluation, inside it
    _compiled_methods: Mapping[str, Callable[..., Any]] = MappingProxyType({})

    def compiled_parts(self) -> list[nn.Module]:
        """The parts to compile; none by default."""
        return []

    def compiled_methods(self) -> list[str]:
        """Names of methods to compile, which are called by `as_compiled`; none by default."""
        return []

    def as_compiled(self, method: str, *args: Any) -> Any:
        """Call a method, compiled where `compiled_methods` names it."""
        return self._compiled_methods.get(method, getattr(type(self), method))(self, *args)

    def __getstate__(self) -> dict[str, Any]:
        """Copies have no compiled code."""
        return {**super().__getstate__(), "_compiled_methods": {}}

    def on_fit_start(self) -> None:
        super().on_fit_start()
        if self.compiled_parts() or self.compiled_methods():
            rank_zero_info(
                "Compiled training: the first batch takes minutes longer, and the first one with discriminators again;"
                " less where the compiler's cache on disk has them."
            )
        compile_parts(self.compiled_parts())
        self._compiled_methods = {name: compile_method(type(self), name) for name in self.compiled_methods()}

    def on_train_start(self) -> None:
        super().on_train_start()
        run_compiled_code(allowed=True)

    def on_validation_start(self) -> None:
        super().on_validation_start()
        run_compiled_code(allowed=False)
        self._benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False

    def on_validation_end(self) -> None:
        super().on_validation_end()
        run_compiled_code(allowed=True)
        self._restore_benchmark()

    def _restore_benchmark(self) -> None:
        if self._benchmark is not None:
            torch.backends.cudnn.benchmark = self._benchmark
            self._benchmark = None

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    def on_fit_end(self) -> None:
        super().on_fit_end()
        self.release()

    def release(self) -> None:
        """Run everything as written from now on, and let other modules' compiled code run."""
        release_parts(self.compiled_parts())
        self._compiled_methods = {}
        run_compiled_code(allowed=True)
        self._restore_benchmark()

    def configure_callbacks(self) -> list[L.Callback]:
        others = super().configure_callbacks()
        return [*(others if isinstance(others, Sequence) else [others]), ReleaseAfterFailure()]


class ReleaseAfterFailure(L.Callback):
    """Ends compiled training where an exception ends it."""

    def on_exception(self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException) -> None:
        if isinstance(pl_module, CompiledTraining):
            pl_module.release()


def compile_parts(parts: Iterable[nn.Module], *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile modules for the shapes they meet in training; shapes are constants of the compiled code."""
    for part in parts:
        part.compile(dynamic=False, backend=backend)


def compile_method(kind: type, name: str, *, backend: str | Callable[..., Any] = "inductor") -> Callable[..., Any]:
    """A class's method by name, compiled for the shapes it meets in training."""
    return torch.compile(getattr(kind, name), dynamic=False, backend=backend)


def release_parts(parts: Iterable[nn.Module]) -> None:
    """Run modules as they are written from now on: after training, each length of a clip would compile anew."""
    for part in parts:
        part._compiled_call_impl = None


def run_compiled_code(*, allowed: bool) -> None:
    """Let compiled modules run their compiled code, or all of them as they are written, from now on.

    Evaluation runs them as written: clips of any length would each compile anew, or make the training's code dynamic.
    """
    torch.compiler.set_stance("default" if allowed else "force_eager")
