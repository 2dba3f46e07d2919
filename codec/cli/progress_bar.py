"""A progress bar that counts batches and does not wait for the device at each of them."""

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import TQDMProgressBar

from codec.training.lightning_internals import log_interval
from codec.training.transfers import fetch_values


class BatchProgressBar(TQDMProgressBar):
    """Counts batches up to `max_steps`: the training stream has no epochs.

    Beside it stand the values that the module logs under a name without a slash. Reading them waits for the device, so
    they change every `log_every_n_steps` batches of the trainer, and at a validation; Lightning would read those logged
    with `prog_bar=True` at each batch.
    """

    def __init__(self, refresh_rate: int = 1, process_position: int = 0, *, leave: bool = False) -> None:
        super().__init__(refresh_rate, process_position, leave)
        self._shown: dict[str, Any] = {}

    def on_train_start(self, trainer: Trainer, *_: Any) -> None:
        """Start a bar that goes on where an interrupted run stopped: Lightning starts no epoch then."""
        super().on_train_start(trainer)
        self._shown = {}
        self._count_batches(trainer)

    def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
        """Keep the bar's total, which Lightning takes from the epoch."""
        super().on_train_epoch_start(trainer)
        self._count_batches(trainer)

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, Any]:
        """The values beside the bar; between two logs those of the last one."""
        interval = log_interval(trainer)
        if trainer.training and self._shown and (not interval or trainer.global_step % interval):
            return self._shown
        values = {name: value for name, value in trainer.callback_metrics.items() if "/" not in name}
        self._shown = super().get_metrics(trainer, pl_module) | fetch_values(values)
        return self._shown

    def _count_batches(self, trainer: Trainer) -> None:
        self.train_progress_bar.set_description("Training")
        self.train_progress_bar.n = self.train_progress_bar.initial = trainer.global_step
        if trainer.max_steps > 0:
            self.train_progress_bar.total = trainer.max_steps
