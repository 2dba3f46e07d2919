"""Callbacks of Lightning that do not work with modules of several optimizers on an endless stream, and what does."""

from collections.abc import Iterable

from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    Callback,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    SpikeDetection,
    StochasticWeightAveraging,
    WeightAveraging,
)

from codec.errors import InvalidValue

AVERAGE = "use callbacks.CodecEMA, which is on in every run under the key ema"
REMEDIES: dict[type[Callback], tuple[str, str]] = {  # why not, and what to do
    StochasticWeightAveraging: ("sets the learning rates of a single optimizer", AVERAGE),
    WeightAveraging: ("averages the discriminators too", AVERAGE),
    GradientAccumulationScheduler: (
        "accumulates for a single optimizer", "use model.init_args.optimization.accumulate instead"
    ),
    LearningRateFinder: (
        "tries rates on a single optimizer",
        "compare rates of model.init_args.optimization.optimizer by `train.py sweep`",
    ),
    BatchSizeFinder: (
        "trains batches before the run begins",
        "set data.batch_size; preflight estimates the memory of a step on a GPU",
    ),
    SpikeDetection: (
        "looks for one loss of a step", "not finite steps are skipped and counted in train/skipped_steps"
    ),
    BackboneFinetuning: (
        "changes the parameters of a single optimizer", "freeze parts by model.init_args.frozen_parts instead"
    ),
}  # fmt: skip


def check_callbacks(callbacks: Iterable[Callback]) -> None:
    """Refuse callbacks that would fail, or do nothing, in training.

    Raises:
        InvalidValue: One is of `REMEDIES`, or a `ModelCheckpoint` waits for the end of later epochs.
    """
    for callback in callbacks:
        name = type(callback).__name__
        for refused, (reason, remedy) in REMEDIES.items():
            if isinstance(callback, refused):
                raise InvalidValue(f"{name} in trainer.callbacks", allowed=reason, remedy=remedy)
        if isinstance(callback, ModelCheckpoint) and (callback.every_n_epochs or 0) > 1:
            raise InvalidValue(
                "every_n_epochs", callback.every_n_epochs, f"of {name} never comes, as the stream has no end",
                "give every_n_train_steps",
            )  # fmt: skip
