"""`torch.compile` for training steps, whose batches have one shape, and not for evaluation, whose clips have many."""

from collections.abc import Callable, Iterable
from typing import Any

import lightning as L
import torch
from torch import nn


class CompiledTraining(L.LightningModule):
    """Compiles parts when `fit` begins; validation, test and prediction run all as written, callbacks' decoding too.

    In evaluation cuDNN does not search for fast algorithms (`trainer.benchmark`) either: it would search anew at each
    length of a clip.
    """

    _benchmark = False

    def compiled_parts(self) -> list[nn.Module]:
        """The parts to compile; none by default."""
        return []

    def on_fit_start(self) -> None:
        super().on_fit_start()
        compile_parts(self.compiled_parts())

    def on_train_start(self) -> None:
        super().on_train_start()
        run_compiled_code(allowed=True)

    def on_validation_start(self) -> None:
        super().on_validation_start()
        run_compiled_code(allowed=False)

    def on_validation_end(self) -> None:
        super().on_validation_end()
        run_compiled_code(allowed=True)

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    def on_validation_model_eval(self) -> None:
        self._benchmark, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, False
        super().on_validation_model_eval()

    def on_validation_model_train(self) -> None:
        super().on_validation_model_train()
        torch.backends.cudnn.benchmark = self._benchmark

    def on_fit_end(self) -> None:
        super().on_fit_end()
        release_parts(self.compiled_parts())


def compile_parts(parts: Iterable[nn.Module], *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile modules for the shapes they meet in training; shapes are constants of the compiled code."""
    for part in parts:
        part.compile(dynamic=False, backend=backend)


def release_parts(parts: Iterable[nn.Module]) -> None:
    """Run modules as they are written from now on: after training, each length of a clip would compile anew."""
    for part in parts:
        part._compiled_call_impl = None


def run_compiled_code(*, allowed: bool) -> None:
    """Let compiled modules run their compiled code, or all of them as they are written, from now on.

    Evaluation runs them as written: clips of any length would each compile anew, or make the training's code dynamic.
    """
    torch.compiler.set_stance("default" if allowed else "force_eager")
