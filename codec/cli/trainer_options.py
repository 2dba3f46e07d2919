"""The Trainer's options as typed: what Lightning would refuse, misread or fail at later, before anything is built."""

from typing import Any


def complete_epoch_options(options: Any) -> None:
    """Let options about epochs mean what they say beside the values that configurations set.

    A fraction as `val_check_interval` is one of an epoch, also where `check_val_every_n_epoch` is null, with which
    Lightning refuses it; and `min_steps` alone does not ask for a whole epoch.
    """
    if isinstance(options.val_check_interval, float | None) and options.check_val_every_n_epoch is None:
        options.check_val_every_n_epoch = 1
    if options.min_epochs is None:
        options.min_epochs = 0
