"""A progress bar that counts batches."""

from typing import Any

from lightning import Trainer
from lightning.pytorch.callbacks import TQDMProgressBar


class BatchProgressBar(TQDMProgressBar):
    """Counts batches up to `max_steps`: the training stream has no epochs."""

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Start a bar that goes on where an interrupted run stopped: Lightning starts no epoch then."""
        super().on_train_start(trainer)
        self._count_batches(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Keep the bar's total, which Lightning takes from the epoch."""
        super().on_train_epoch_start(trainer)
        self._count_batches(trainer)

    def _count_batches(self, trainer: Trainer) -> None:
        self.train_progress_bar.set_description("Training")
        self.train_progress_bar.n = self.train_progress_bar.initial = trainer.global_step
        if trainer.max_steps > 0:
            self.train_progress_bar.total = trainer.max_steps
