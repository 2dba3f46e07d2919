"""Speed of training: seconds of audio per second over all ranks, batches per second, and waiting for data."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from callbacks.metrics.checks import require_at_least
from callbacks.output.loggers import log_reduced


class Throughput(Callback):
    """Logs the speed since the last log, every `every_n_batches` batches; time in validation does not count:

    - `throughput/audio_seconds_per_second`: seconds of training audio of all ranks per second;
    - `throughput/batches_per_second`: batches of one rank per second;
    - `throughput/data_wait`: share of time spent waiting for the next batch, in [0, 1], the mean over ranks.

    The first batch, which starts workers and compiles kernels, is left out. On a GPU the times are the host's;
    over many batches they agree with the device's.

    Args:
        every_n_batches: Training batches between two logs.

    Raises:
        InvalidValue: `every_n_batches` is below 1.
    """

    def __init__(self, every_n_batches: int = 50) -> None:
        require_at_least(1, every_n_batches=every_n_batches)
        self.every_n_batches = every_n_batches
        self._warm = False
        self._restart()

    def _restart(self) -> None:
        self._batches, self._audio, self._busy, self._waited = 0, 0.0, 0.0, 0.0
        self._mark: float | None = None

    def logged_names(self, pl_module: LightningModule) -> list[str]:
        """Names of all values that `fit` logs here."""
        return [f"throughput/{name}" for name in ("audio_seconds_per_second", "batches_per_second", "data_wait")]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._warm = False
        self._restart()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        now = time.perf_counter()
        if self._mark is not None:
            self._waited += now - self._mark
        self._mark = now

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        if not self._warm:
            self._warm = True
            self._restart()
        elif self._mark is not None:
            codec: Any = pl_module.codec
            self._busy += time.perf_counter() - self._mark
            self._audio += batch["audio"].numel() / codec.sample_rate
            self._batches += 1
        if trainer.global_step % self.every_n_batches == 0 and self._batches:
            self._log(trainer, pl_module)
        self._mark = time.perf_counter()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None  # neither validation nor the fetch after it counts as waiting

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._mark = None

    def _log(self, trainer: Trainer, pl_module: LightningModule) -> None:
        elapsed = max(self._busy + self._waited, 1e-9)
        mine = [self._audio / elapsed, self._batches / elapsed, self._waited / elapsed]
        total = torch.tensor(mine, dtype=torch.float32, device=pl_module.device)
        summed = trainer.strategy.reduce(total, reduce_op="sum")
        assert isinstance(summed, Tensor)
        audio, batches, waited = summed.tolist()
        ranks = trainer.world_size
        values = {
            "throughput/audio_seconds_per_second": audio,
            "throughput/batches_per_second": batches / ranks,
            "throughput/data_wait": waited / ranks,
        }
        log_reduced(trainer, pl_module, values)
        self._restart()
