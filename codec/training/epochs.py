"""Epochs of an endless training stream: what the Trainer's options about epochs mean, in batches.

The stream has no end and is resumed at a batch, so the Trainer sees one endless epoch. An epoch is as many batches as
hold the seconds of the training corpora; the data module knows how many.
"""

from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from lightning import Trainer

from codec.errors import InvalidValue, counted

ENDLESS = -1  # of max_steps and max_epochs


class EpochLength(Protocol):
    """What a data module says of an epoch."""

    @property
    def batches(self) -> int:
        """Batches of an epoch."""

    @property
    def seconds(self) -> float:
        """Length of the training corpora."""

    @property
    def batch_seconds(self) -> float:
        """Length of a batch of all ranks."""


class Limits(NamedTuple):
    """The Trainer's options that an epoch's length changes, under its own names."""

    max_steps: int
    min_steps: int | None
    min_epochs: int | None
    limit_train_batches: int | float
    val_check_interval: int | float | None  # None where it is a time
    check_val_every_n_epoch: int | None


class Converted(NamedTuple):
    stated: Limits
    by_batches: Limits


_CONVERTED: WeakKeyDictionary[Trainer, Converted] = WeakKeyDictionary()


def count_epochs_in_batches(trainer: Trainer, length: EpochLength) -> str:
    """Give the Trainer batches wherever its options speak of epochs; a second call changes nothing.

    `max_epochs` and `min_epochs` become `max_steps` and `min_steps` (the earlier end, the later beginning wins),
    `limit_train_batches` shortens the epoch, a fraction as `val_check_interval` is one of the epoch, and
    `check_val_every_n_epoch` counts epochs. A number as `val_check_interval` counts batches through all epochs.

    Args:
        trainer: without effect where it is in `fast_dev_run`.
        length: of an epoch, on rank 0; the other ranks' is not looked at.

    Returns:
        A sentence for the log.

    Raises:
        InvalidValue: `check_val_every_n_epoch` above 1 goes with another `val_check_interval` than 1.0.
    """
    length = trainer.strategy.broadcast(length)
    found = _limits(trainer)
    earlier = _CONVERTED.get(trainer)
    stated = earlier.stated if earlier is not None and earlier.by_batches == found else found
    if 0 in (stated.max_steps, trainer.max_epochs):
        return "No batch is trained, as max_steps or max_epochs is 0."
    batches = epoch_batches(length.batches, stated.limit_train_batches)
    said = (
        f"An epoch is {counted(length.batches, 'batch')}: {_duration(length.seconds)} of speech in batches of "
        f"{_duration(length.batch_seconds)}"
    )
    if not batches:
        return f"{said}. None is trained, as limit_train_batches is 0."
    if trainer.fast_dev_run:  # type: ignore[attr-defined]
        return f"{said}."
    by_batches = in_batches(stated, batches, max_epochs=trainer.max_epochs)
    _set_limits(trainer, by_batches)
    _CONVERTED[trainer] = Converted(stated, by_batches)
    used = f", of which {batches} {'is' if batches == 1 else 'are'} used" if batches != length.batches else ""
    return f"{said}{used}.{_end(by_batches.max_steps, batches)}"


def epoch_batches(batches: int, limit: int | float) -> int:
    """The batches of an epoch under `limit_train_batches`: a number of them, or a fraction, of which one is left."""
    if isinstance(limit, int):
        return min(batches, limit)
    return max(1, int(batches * limit)) if limit > 0 else 0


def in_batches(stated: Limits, batches: int, *, max_epochs: int | None) -> Limits:
    """The options for an epoch of so many batches, without epochs.

    Raises:
        InvalidValue: see `count_epochs_in_batches`.
    """
    ends = [stated.max_steps] if stated.max_steps != ENDLESS else []
    if max_epochs is not None and max_epochs > 0:  # the Trainer itself sees to 0
        ends.append(max_epochs * batches)
    least = max(stated.min_steps or 0, (stated.min_epochs or 0) * batches)
    interval, every = stated.val_check_interval, stated.check_val_every_n_epoch
    if every is not None and every > 1 and not (isinstance(interval, float) and interval == 1):
        given = "a time" if interval is None else interval
        raise InvalidValue(
            "trainer.check_val_every_n_epoch", every, f"must be unset beside val_check_interval {given}",
            "give one of the two",
        )  # fmt: skip
    if isinstance(interval, float):
        interval = max(1, int((every or 1) * batches * interval))
    return Limits(
        max_steps=min(ends, default=ENDLESS),
        min_steps=least or None,
        min_epochs=0,
        limit_train_batches=1.0,
        val_check_interval=interval,
        check_val_every_n_epoch=None,
    )


def _end(max_steps: int, batches: int) -> str:
    if max_steps == ENDLESS:
        return " Training has no end: set trainer.max_steps or trainer.max_epochs."
    epochs = f"{max_steps / batches:,.2f}".rstrip("0").rstrip(".")
    return f" Training ends after {counted(max_steps, 'batch')}, {epochs} {'epoch' if epochs == '1' else 'epochs'}."


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.4g} s"
    return f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:,.1f} h"


def _limits(trainer: Any) -> Limits:
    return Limits(
        trainer.max_steps,
        trainer.min_steps,
        trainer.fit_loop.min_epochs,
        trainer.limit_train_batches,
        getattr(trainer, "val_check_interval", None),
        trainer.check_val_every_n_epoch,
    )


def _set_limits(trainer: Any, limits: Limits) -> None:
    loop = trainer.fit_loop
    loop.epoch_loop.max_steps, loop.epoch_loop.min_steps = limits.max_steps, limits.min_steps
    loop.min_epochs = limits.min_epochs
    trainer.limit_train_batches = limits.limit_train_batches
    trainer.check_val_every_n_epoch = limits.check_val_every_n_epoch
    if limits.val_check_interval is not None:
        trainer.val_check_interval = limits.val_check_interval
