"""Checks before the first batch for what would end a run later; all problems are reported in one list."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.training.preflight_checks import CHECKS, NEED_DATA
from callbacks.training.preflight_memory import device_memory
from callbacks.training.preflight_monitors import after_sanity_check
from callbacks.training.preflight_space import Finding
from codec.errors import InvalidValue

logger = logging.getLogger(__name__)


class PreflightError(InvalidValue):
    """The checks found a run that would fail later.

    Attributes:
        problems: all of them, each a sentence with its remedy.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = list(problems)
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        super().__init__(f"Preflight found {count}", allowed="(--preflight.enabled false starts the run anyway)")

    def __str__(self) -> str:
        return f"{self.problem}:" + "".join(f"\n- {problem}" for problem in self.problems)


class Preflight(Callback):
    """Checks a `fit` before its first batch, and ends it with a list of all problems.

    Checked are: write access and free space of the checkpoints' folder; training crops from a few files; a few files of
    the test clips; that there are validation clips; discriminators that join later, on a signal as long as their
    input; every metric of `ChannelEvaluation`, on synthetic speech; the values that callbacks monitor; the number of
    data workers and cores; bfloat16 on CPUs; on a GPU, whether the memory of a training step fits it.
    An error in the data module's setup is added to the list. A checkpoint of another geometry is refused later, when
    the module loads it. Rank 0 checks, and all ranks stop together. Nothing is checked in `fast_dev_run`.

    Args:
        enabled: Whether to check.
        memory: Whether to estimate the memory of a training step on a GPU, which takes a few seconds. An estimate that
            exceeds the card by a tenth ends the run; a tighter one, or one of a compiled module, is a warning.

    Raises:
        PreflightError: There are problems, in `fit`.
    """

    def __init__(self, enabled: bool = True, memory: bool = True) -> None:
        self.enabled, self.memory = enabled, memory
        self._waiting = True  # for `setup`, which comes after the data module's

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._waiting = False
        if not self._applies(trainer):
            return
        checks = [*CHECKS, device_memory] if self.memory else CHECKS
        problems = _problems(trainer, pl_module, checks) if trainer.is_global_zero else []
        _refuse(trainer.strategy.broadcast(problems))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """If the data or a logger cannot be set up, report the other problems with that error."""
        if not (self._waiting and self._applies(trainer) and isinstance(exception, ValueError | OSError)):
            return
        checks = [check for check in CHECKS if check not in NEED_DATA]
        others = _problems(trainer, pl_module, checks) if trainer.is_global_zero else []
        if others:
            trainer.strategy.on_exception(exception)  # Lightning would do this next; the new error comes first
            _refuse([*([str(exception)] if isinstance(exception, ValueError) else []), *others])

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._applies(trainer):
            _refuse(_problems(trainer, pl_module, [after_sanity_check]))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._waiting = True

    def _applies(self, trainer: Any) -> bool:
        return self.enabled and trainer.state.fn == "fit" and not trainer.fast_dev_run


def _problems(
    trainer: Trainer, module: LightningModule, checks: Iterable[Callable[..., Iterable[Finding]]]
) -> list[str]:
    """The texts of all fatal findings; the others are logged. A check that itself fails does not stop the run."""
    found: list[Finding] = []
    for check in checks:
        try:
            found += check(trainer, module)
        except Exception as error:
            found.append(Finding(f"Preflight could not check the {check.__name__} ({error!r}).", fatal=False))
    for finding in found:
        if not finding.fatal:
            logger.warning(finding.text)
    return [finding.text for finding in found if finding.fatal]


def _refuse(problems: Sequence[str]) -> None:
    if problems:
        raise PreflightError(problems)
