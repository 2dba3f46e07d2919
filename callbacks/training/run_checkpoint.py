"""Checkpoints of a run that may be killed at any moment, stopped by a signal, and resumed bit for bit."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NoReturn

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_warn

from callbacks.output.loggers import log_scalars
from codec.checkpoints.files import link, remove_partial
from codec.errors import InvalidValue, UnreadableFile
from codec.layers.ranks import broadcast_object, gather_objects
from codec.training.distributed.stop_signals import RunStopped, StopSignals
from codec.training.lightning_internals import (
    dump_checkpoint,
    extend_training,
    forget_value,
    log_values,
    run_validation,
    training_is_done,
    validation_is_due,
    values_due,
)
from codec.training.runs.csv_log import abandon_rows
from codec.training.runs.folders import checkpoint_folder, hold_folders, run_folder
from codec.training.runs.locks import FolderInUse, release
from codec.training.transfers import fetch_state

KEY = "run_checkpoint"
NAME = re.compile(r"batch=(\d+)\.ckpt")


class RunCheckpoint(Checkpoint):
    """Saves the whole state of training at the end of a batch; resumed from it, a run equals an uninterrupted one.

    A checkpoint `batch=N.ckpt` is written every `every_n_batches` batches, before each validation (which may fail, or
    outlast the time that a cluster grants), after the last batch, and when a signal asks the run to stop. `last.ckpt`
    is another name of the newest, `best.ckpt` of the one with the best `monitor`. A resumed run first does what the
    interrupted one had still to do: it logs the checkpoint's batch, and validates if that was due. A run that starts
    afresh in a folder with checkpoints moves that folder aside; one in a folder that a living run has is refused.

    SIGTERM, SIGINT (Ctrl-C) and SIGUSR1 end the command with status 75 when the batch is done and saved; several ranks
    end together, after at most ten batches. During validation one process ends at once, several after one more batch.
    Under SLURM with auto_requeue, the requeue signal also puts the job back into the queue.

    If a checkpoint cannot be written, as on a full disk, the earlier ones stay as they are and training goes on, with a
    warning and the count `checkpoint/failed` in the logs. It is an error only if the last one cannot be written.

    Args:
        every_n_batches: Batches between two checkpoints.
        recent: How many of the newest to keep, at least 2: one to fall back on.
        monitor: A value logged in validation that ranks checkpoints, such as `channel/stoi/ber_0`.
        mode: Whether `monitor` is best at its "max" or "min".
        best: How many of the best by `monitor` to keep in addition.
        dirpath: A local folder, for checkpoints alone, instead of `checkpoints` in the run's folder.

    Raises:
        InvalidValue: A number is out of range, `monitor` is not logged, or ranks resume from different files.
        UnreadableFile: The last checkpoint could not be written.
        FolderInUse: Another run that is alive writes to the same folder.
    """

    def __init__(
        self,
        every_n_batches: int = 1000,
        recent: int = 2,
        *,
        monitor: str | None = None,
        mode: str = "max",
        best: int = 3,
        dirpath: str | None = None,
    ) -> None:
        for name, number, least in (("every_n_batches", every_n_batches, 1), ("recent", recent, 2), ("best", best, 1)):
            if number < least:
                raise InvalidValue(name, number, f"must be at least {least}")
        if mode not in ("max", "min"):
            raise InvalidValue("mode", repr(mode), "must be 'max' or 'min'")
        self.every_n_batches, self.recent = every_n_batches, recent
        self.monitor, self.mode, self.best, self.dirpath = monitor, mode, best, dirpath
        self.scores: dict[int, float] = {}  # by batch
        self.failed = 0
        self._owed: dict[str, Any] = {}  # what a run resumed from here has still to do for the checkpoint's batch
        self._extended = False
        self._saved = -1  # the batch last written, or tried to
        self._error: str | None = None
        self._signals = StopSignals()
        self._locks: list[Path] = []

    # Lightning's hooks, in the order in which they run.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self.folder = Path(trainer.strategy.broadcast(self.dirpath or str(checkpoint_folder(trainer))))
        self._signals, self._saved, self._error = StopSignals(), -1, None
        self._dry = bool(trainer.fast_dev_run)  # type: ignore[attr-defined]
        if stage == "fit" and not self._dry:
            self._lock(trainer)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if trainer.state.fn != "fit" or KEY not in checkpoint:
            return
        saved = checkpoint[KEY]
        self.scores, self.failed, self._owed = saved["scores"], saved["failed"], saved["owed"]
        self._extended = self._owed.get("validation", False) and checkpoint["global_step"] == trainer.max_steps
        if self._extended:  # else the loop would not start, and the last validation never be made up for
            extend_training(trainer, 1)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        chosen = gather_objects(str(trainer.ckpt_path or "none, a fresh start"))
        if len(set(chosen)) > 1:
            ranks = "; ".join(f"rank {rank}: {path}" for rank, path in enumerate(chosen))
            raise InvalidValue(
                f"Ranks resume from different checkpoints ({ranks})", remedy="start again, or name one file"
            )
        if trainer.is_global_zero and not self._dry:
            leftovers = remove_partial(self.folder)
            if leftovers:
                rank_zero_info(f"Removed half-written files of an interrupted run: {', '.join(leftovers)}.")

    def on_sanity_check_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.install(trainer)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._signals.install(trainer)
        if trainer.ckpt_path is None:
            self._set_aside(trainer)
        else:
            self._saved = trainer.global_step
            if trainer.is_global_zero and not self._dry:
                abandon_rows(trainer.loggers, trainer.global_step)
        owed, self._owed = self._owed, {}
        if owed.get("logged"):
            log_values(trainer, owed["logged"])
        if owed.get("validation"):
            run_validation(trainer)
        if self._extended:
            extend_training(trainer, -1)
            self._extended = False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        batch = trainer.global_step
        validation, last = validation_is_due(trainer), training_is_done(trainer)
        due = validation or last or trainer.should_stop or batch % self.every_n_batches == 0
        signal = self._signals.agreed(batch, now=due or self._saved == batch - 1)
        if signal or due:
            self._save(trainer, validation=validation)
        if signal:
            self._stop(trainer, signal)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is not None:  # a value of an earlier validation says nothing about these weights
            forget_value(trainer, self.monitor)

    def on_validation_batch_end(self, trainer: Trainer, *_: Any) -> None:
        if trainer.world_size == 1 and self._signals.received and self._saved == trainer.global_step:
            self._stop(trainer, self._signals.received)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.monitor is None or trainer.state.fn != "fit" or trainer.sanity_checking:
            return
        score = trainer.callback_metrics.get(self.monitor)
        if score is None and not self.scores:
            logged = ", ".join(sorted(trainer.callback_metrics))
            raise InvalidValue(
                f"monitor {self.monitor} of RunCheckpoint is not logged", remedy=f"set it to one of {logged}"
            )
        if score is not None and torch.isfinite(score):
            self.scores[trainer.global_step] = float(score)
            if trainer.is_global_zero and not self._dry:
                self._tidy(trainer.global_step)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._refuse_failure()

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint[KEY] = {"scores": dict(self.scores), "failed": self.failed, "owed": self._owed}

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._unlock()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._unlock()

    # What they do.

    def _lock(self, trainer: Trainer) -> None:
        """Rank 0 locks the run's folders, and all ranks end together if another run has done so."""
        refused = None
        if trainer.is_global_zero:
            try:
                self._locks = hold_folders(run_folder(trainer), self.folder)
            except FolderInUse as error:
                refused = error
        refused = broadcast_object(refused)
        if refused is not None:
            raise refused

    def _unlock(self) -> None:
        while self._locks:
            release(self._locks.pop())

    def _save(self, trainer: Trainer, *, validation: bool) -> None:
        """Write this batch's checkpoint and make it the last; every rank must call this."""
        if self._dry:
            return
        self._owed = {"validation": validation, "logged": values_due(trainer)}  # Lightning logs them after this hook
        checkpoint = fetch_state(dump_checkpoint(trainer))  # else each tensor would be copied by itself
        self._owed = {}
        path = self.folder / f"batch={trainer.global_step}.ckpt"
        error = None
        try:
            for logger in trainer.loggers:
                logger.save()  # what is logged up to here must outlive the process as the checkpoint does
            trainer.strategy.save_checkpoint(checkpoint, path)
            if trainer.is_global_zero:
                link(path, self.folder / "last.ckpt")
                self._tidy(trainer.global_step)
        except OSError as cause:
            error = str(cause)
        self._saved = trainer.global_step
        self._error = next((reason for reason in gather_objects(error) if reason), None)
        if self._error is not None:
            self.failed += 1
            rank_zero_warn(
                f"Checkpoint {path} could NOT be written ({self._error}), {self.failed} in all: training goes on and "
                "tries again with the next one; make room, or all since the last one is lost if the run ends."
            )
        if self.failed:
            log_scalars(trainer, {"checkpoint/failed": self.failed}, step=trainer.global_step)

    def _tidy(self, now: int) -> None:
        """Link `best.ckpt`, rename files of abandoned batches after `now`, and remove all neither recent nor best."""
        found = {int(m[1]): path for path in self.folder.glob("batch=*.ckpt") if (m := NAME.fullmatch(path.name))}
        files = {batch: path for batch, path in found.items() if batch <= now}
        for batch in found.keys() - files.keys():
            found[batch].replace(found[batch].with_suffix(".abandoned"))  # else it would count once training passes it
        ranked = sorted((b for b in self.scores if b in files), key=self.scores.__getitem__, reverse=self.mode == "max")
        if ranked:
            link(files[ranked[0]], self.folder / "best.ckpt")
        for batch in set(files) - set(sorted(files)[-self.recent :]) - set(ranked[: self.best]):
            files[batch].unlink(missing_ok=True)

    def _set_aside(self, trainer: Trainer) -> None:
        if trainer.is_global_zero and not self._dry and any(self.folder.glob("*.ckpt")):
            number = 1
            while (aside := self.folder.with_name(f"{self.folder.name}-{number}")).exists():
                number += 1
            self.folder.rename(aside)
            rank_zero_info(f"The checkpoints of the run before are now in {aside}.")

    def _stop(self, trainer: Trainer, signal: int) -> NoReturn:
        self._refuse_failure()
        self._signals.requeue(trainer, signal)
        rank_zero_info(f"\nStopped after batch {trainer.global_step}: --ckpt_path auto goes on from {self.folder}.")
        raise RunStopped(trainer)

    def _refuse_failure(self) -> None:
        if self._error is not None:
            raise UnreadableFile(
                f"The last checkpoint in {self.folder} could not be written ({self._error})",
                remedy="make room and run again with --ckpt_path auto, which goes on from the one before",
            )
