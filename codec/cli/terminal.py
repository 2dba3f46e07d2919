"""What a command shows: sizes, a progress bar or a line now and then, scores once; no advertisements of libraries."""

import logging
import sys
import time
import warnings
from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelSummary, ProgressBar, RichProgressBar, TQDMProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from codec.cli.progress_bar import BatchProgressBar

FIRST_WAIT, LONGEST_WAIT = 10.0, 300.0  # seconds between two lines of progress, which double
# Beginnings of messages that tell a user nothing; the command names its checkpoint itself.
UNASKED = (
    "💡 Tip:",
    "TPU available: False",
    "`Trainer(",
    "Restoring states from",
    "Restored all",
    "Loaded model weights",
)
WARNINGS = (
    r"It is recommended to use `self\.log\(.*sync_dist",  # reduced already
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",
)


def silence_libraries() -> None:
    """Drop messages and warnings of libraries that ask nothing of a user."""
    for message in WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"(?:jsonargparse|lightning)\b")
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_asked)


def _is_asked(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(UNASKED)


def plain_output(callbacks: list[Callback], *, own: list[Callback]) -> None:
    """Replace Lightning's progress bar and summary, in place; a summary among the user's `own` callbacks stays."""
    for index, callback in enumerate(callbacks):
        if type(callback) in (RichProgressBar, TQDMProgressBar):
            callbacks[index] = BatchProgressBar() if sys.stdout.isatty() else ProgressLines()
        elif isinstance(callback, ModelSummary) and callback not in own:
            callbacks[index] = Sizes()


class Sizes(Callback):
    """Prints the module's parts with their numbers of parameters when training starts."""

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        counts = [(name, type(part).__name__, _parameters(part)) for name, part in _parts(pl_module)]
        for name, kind, count in counts:
            if count:
                print(f"{name:<24} {kind:<28} {_millions(count):>10}")
        trained = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)
        frozen = _parameters(pl_module) - trained
        print(f"{'parameters':<24} {f'{_millions(frozen)} of them frozen' if frozen else '':<28} "
              f"{_millions(trained + frozen):>10}", flush=True)  # fmt: skip


def _parts(module: LightningModule) -> list[tuple[str, Any]]:
    """The module's children; a codec is shown by its parts."""
    found: list[tuple[str, Any]] = []
    for name, part in module.named_children():
        found += [(f"{name}.{n}", p) for n, p in part.named_children()] if name == "codec" else [(name, part)]
    return found


def _parameters(part: Any) -> int:
    return sum(parameter.numel() for parameter in part.parameters())


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


class ProgressLines(ProgressBar):
    """A line of progress now and then, for output that is no terminal: after 10 s, 20 s, and so on, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._enabled = True
        self._begin()

    def _begin(self) -> None:
        self._start = self._last = time.monotonic()
        self._wait, self._first = FIRST_WAIT, None

    def disable(self) -> None:
        """Print nothing, as on all ranks but the first."""
        self._enabled = False

    def enable(self) -> None:
        self._enabled = True

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()
        self._before = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if self._is_due():
            self._tell_training(trainer, pl_module)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._tell_training(trainer, pl_module)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn != "fit":
            self._begin()

    def on_test_batch_end(self, *args: Any) -> None:
        self._tell_clips("Testing", args[4], sum(args[0].num_test_batches), unit=_unit(args[0]))

    def on_predict_batch_end(self, *args: Any) -> None:
        # A long clip comes in pieces.
        unit = _unit(args[0], alone="clip or piece")
        self._tell_clips("Predicting", args[4], sum(args[0].num_predict_batches), unit=unit)

    def on_validation_batch_end(self, *args: Any) -> None:
        if args[0].state.fn != "fit":
            self._tell_clips("Validating", args[4], sum(args[0].num_val_batches), unit=_unit(args[0]))

    def _is_due(self) -> bool:
        if time.monotonic() - self._last < self._wait:
            return False
        self._last, self._wait = time.monotonic(), min(2 * self._wait, LONGEST_WAIT)
        return True

    def _tell_training(self, trainer: Trainer, pl_module: LightningModule) -> None:
        done, total = trainer.global_step, f" of {trainer.max_steps}" if trainer.max_steps > 0 else ""
        rate = (done - self._before) / max(time.monotonic() - self._start, 1e-9)
        values = [f"{name} {float(value):.3f}" for name, value in trainer.callback_metrics.items() if "/" not in name]
        values += [f"{name} {float(value):.3f}" for name, value in trainer.progress_bar_metrics.items() if "/" in name]
        self._tell(", ".join([f"Training: batch {done}{total}", f"{rate:.2f} batches/s", *values]))

    def _tell_clips(self, verb: str, index: int, total: int | float, *, unit: str) -> None:
        if self._is_due() or index + 1 == total:
            self._tell(f"{verb}: {unit} {index + 1} of {total}, {time.monotonic() - self._start:.0f} s")

    def _tell(self, line: str) -> None:
        if self._enabled:
            print(line, flush=True)


@rank_zero_only
def tell_values(trainer: Trainer) -> None:
    """Print what the module itself logged of a test or validation, a line each."""
    for name, value in trainer.callback_metrics.items():
        if name.startswith(("test/", "val/")):
            print(f"{name} {float(value):.4f}", flush=True)


def _unit(trainer: Trainer, alone: str = "clip") -> str:
    """What an evaluation counts: batches where the data module puts several clips into one."""
    data: Any = getattr(trainer, "datamodule", None)
    return alone if getattr(data, "clips_per_batch", 1) == 1 else "batch"
