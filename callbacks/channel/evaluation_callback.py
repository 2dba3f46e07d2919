"""The base of callbacks that score clips in validation and in test."""

from collections.abc import Iterator, Mapping
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from codec.errors import InvalidValue

Outputs = Tensor | Mapping[str, Any] | None  # of a module's step


class EvaluationCallback(Callback):
    """Maps the hooks of validation and test to `_start`, `_evaluate` for each clip, `_finish` and, last, `_close`."""

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._start(trainer, pl_module)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Outputs,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for clip, found in single_clips(batch, outputs):
            self._evaluate(trainer, pl_module, found, clip)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Outputs,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        for clip, found in single_clips(batch, outputs):
            self._evaluate(trainer, pl_module, found, clip)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._finish(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._close()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._close()

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called before the first batch, in the sanity check too."""

    def _evaluate(self, trainer: Trainer, pl_module: LightningModule, outputs: Outputs, batch: Any) -> None:
        """Called for each clip after its batch, with the batch and the output of the module's step as of this clip.

        A batch of several clips without `lengths` comes undivided.
        """

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Called after the last batch."""

    def _close(self) -> None:
        """Called when the trainer has finished or failed, perhaps twice."""


def single_clips(batch: Any, outputs: Outputs) -> Iterator[tuple[Any, Outputs]]:
    """Each clip of a padded batch as a batch of its own, and what the step has returned for it.

    Args:
        batch: `audio` [B, 1, T], with `lengths` in samples if it is padded, `target` likewise with `target_lengths`,
            and further fields of B entries. Without `lengths` it is the only one, as it is.
        outputs: of the step: `codes` [B, K, F] with `frames`, those of each clip, or by system the same of each;
            `audio` [B, 1, T'] as long as the targets; further fields of B entries.

    Raises:
        InvalidValue: The step has returned codes of several clips without their frames.
    """
    if "lengths" not in batch:
        yield batch, outputs
        return
    fields = outputs if isinstance(outputs, Mapping) else {}
    if fields.get("codes") is not None and "frames" not in fields:
        problem = f"the step's codes of {len(batch['lengths'])} clips come without their `frames`"
        raise InvalidValue(problem, remedy="set data.clips_per_batch to 1, or return them")
    heard = {"audio": batch["lengths"], "target": batch.get("target_lengths")}
    coded = {"audio": batch.get("target_lengths", batch["lengths"]), "codes": fields.get("frames")}
    for row in range(len(batch["lengths"])):
        clip = {name: _of_clip(value, row, heard.get(name)) for name, value in batch.items() if "lengths" not in name}
        found = {name: _of_clip(value, row, coded.get(name)) for name, value in fields.items() if name != "frames"}
        yield clip, found if isinstance(outputs, Mapping) else outputs


def _of_clip(value: Any, row: int, ends: Any) -> Any:
    """A field's entry for one clip, as that of a batch of one, cut to its end; a mapping's entries likewise."""
    if isinstance(value, Mapping):
        by_name = isinstance(ends, Mapping)
        return {name: _of_clip(entry, row, ends[name] if by_name else ends) for name, entry in value.items()}
    if ends is not None:
        return value[row : row + 1, ..., : ends[row]].clone()  # else a clip that is kept would keep its whole batch
    return value[row : row + 1] if isinstance(value, list) or (isinstance(value, Tensor) and value.ndim) else value
