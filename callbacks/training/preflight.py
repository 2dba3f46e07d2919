"""What would end a run after its first hour is found before its first batch, and all of it is said at once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.training.preflight_checks import CHECKS, after_sanity_check
from callbacks.training.preflight_space import Finding

logger = logging.getLogger(__name__)


class Preflight(Callback):
    """Checks a `fit` before its first batch, and ends it with a list of all that is wrong.

    Checked are: write access and free space of the checkpoints' folder; training crops from a few files; a few files of
    the test clips; that there are validation clips; discriminators that join later, on a stretch as long as they will
    see; every metric of `ChannelEvaluation`, on synthetic speech; what callbacks monitor; data workers against cores;
    bfloat16 against the CPU.
    What the data module refuses while it is set up joins the list; a checkpoint of another geometry is refused by the
    module as it is loaded, right after this. Rank 0 checks, and all ranks stop together. Skipped in `fast_dev_run`.

    Args:
        enabled: Whether to check.

    Raises:
        ValueError: The list, in `fit`.
    """

    def __init__(self, enabled: bool = True) -> None:
        self.enabled = enabled
        self._waiting = True  # until `setup`, before which the data module is set up

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._waiting = False
        if not self._applies(trainer):
            return
        problems = _problems(trainer, pl_module, CHECKS) if trainer.is_global_zero else []
        _refuse(trainer.strategy.broadcast(problems))

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Where data or loggers could not be set up, put the other problems beside that one."""
        if not (self._waiting and self._applies(trainer) and isinstance(exception, ValueError | OSError)):
            return
        checks = [check for check in CHECKS if not getattr(check, "needs_data", False)]
        others = _problems(trainer, pl_module, checks) if trainer.is_global_zero else []
        if others:
            trainer.strategy.on_exception(exception)  # Lightning's next act, which the new error precedes
            _refuse([*([str(exception)] if isinstance(exception, ValueError) else []), *others])

    def on_sanity_check_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._applies(trainer):
            _refuse([finding.text for finding in after_sanity_check(trainer)])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._waiting = True

    def _applies(self, trainer: Any) -> bool:
        return self.enabled and trainer.state.fn == "fit" and not trainer.fast_dev_run


def _problems(
    trainer: Trainer, module: LightningModule, checks: Iterable[Callable[..., Iterable[Finding]]]
) -> list[str]:
    """The texts of all fatal findings; the others are logged. A check that fails itself stops nobody."""
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
        count = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = "".join(f"\n- {problem}" for problem in problems)
        raise ValueError(f"Preflight found {count} (--preflight.enabled false starts all the same):{lines}")
