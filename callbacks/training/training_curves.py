"""Losses, gradient norms and learning rates of a run as one figure with named axes, by batch."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.figures.training import PANELS, training_figure
from callbacks.metrics.checks import require_at_least
from callbacks.output.files import completed
from callbacks.output.loggers import log_folder, show_figure
from codec.training.transfers import fetch_values


class TrainingCurves(Callback):
    """Draws the logged values of training, at every validation and at the end, as `training.png` and in the loggers.

    Checkpoints hold the history, so that the curves of a resumed run begin with its first batch.

    Args:
        every_n_batches: Batches between two points.

    Raises:
        InvalidValue: `every_n_batches` is below 1.
    """

    def __init__(self, every_n_batches: int = 20) -> None:
        require_at_least(1, every_n_batches=every_n_batches)
        self.every_n_batches = every_n_batches
        self.history: dict[str, list[tuple[int, float]]] = {}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step % self.every_n_batches == 0:
            self._note(trainer, [name for panel in PANELS for name in panel.values.values() if "val/" not in name])

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._note(trainer, ["val/mel"])
            self._draw(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._draw(trainer)

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = {name: [(int(x), float(y)) for x, y in points] for name, points in state_dict["history"].items()}

    def _note(self, trainer: Trainer, names: list[str]) -> None:
        logged = trainer.callback_metrics
        for name, value in fetch_values({name: logged[name] for name in names if name in logged}).items():
            self.history.setdefault(name, []).append((trainer.global_step, value))

    def _draw(self, trainer: Trainer) -> None:
        folder = log_folder(trainer)
        if not trainer.is_global_zero or not self.history:
            return
        figure = training_figure(self.history)
        folder.mkdir(parents=True, exist_ok=True)
        with completed(folder / "training.png") as partial:
            figure.savefig(partial, dpi=110)
        show_figure(trainer, "training/curves", lambda: figure, step=trainer.global_step)
