"""The Trainer's options as typed: what Lightning would refuse, misread or wait for later, before anything is built."""

import os
from collections.abc import Mapping
from enum import Enum
from typing import Any

import torch
from lightning.fabric.plugins.environments import (
    LSFEnvironment,
    MPIEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from lightning.pytorch.accelerators import AcceleratorRegistry
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from codec.errors import InvalidValue, first_line
from codec.training.distributed.supported import SEVERAL_DEVICES, check_options
from codec.training.lightning_internals import takes_several_devices

CLUSTERS = (SLURMEnvironment, TorchElasticEnvironment, LSFEnvironment, MPIEnvironment)
LEAST = {  # least number of each option
    "fast_dev_run": 0,
    "max_epochs": -1,
    "min_epochs": 0,
    "max_steps": -1,
    "min_steps": 0,
    "check_val_every_n_epoch": 1,
    "num_sanity_val_steps": -1,
    "log_every_n_steps": 0,
    "reload_dataloaders_every_n_epochs": 0,
    "num_nodes": 1,
}
SHARES = ("limit_train_batches", "limit_val_batches", "limit_test_batches", "limit_predict_batches", "overfit_batches")
PROFILERS = ("simple", "advanced", "pytorch")
# Options of the Trainer that the module handles itself: the Trainer's name, the module's name, the unset values.
MODULES_OWN = (
    ("gradient_clip_val", "gradient_clip", (None, 0)),
    ("gradient_clip_algorithm", "gradient_clip", (None,)),
    ("accumulate_grad_batches", "accumulate", (None, 1)),
)


def check_trainer_options(options: Any) -> None:
    """Refuse what cannot work, choose the strategy of several devices, and let options about epochs mean what they say.

    Raises:
        InvalidValue: An option is out of range, has no effect here, or asks for what this machine does not have.
    """
    for name, other, unset in MODULES_OWN:
        if options[name] not in unset:
            raise InvalidValue(
                f"trainer.{name}", _short(options[name]), "must be unset", f"use model.init_args.optimization.{other} "
                "instead"
            )  # fmt: skip
    if options.enable_checkpointing is False:
        raise InvalidValue("trainer.enable_checkpointing", False, "must be unset", "runs always keep checkpoints")
    if options.barebones:
        raise InvalidValue(
            "trainer.barebones", True, "must be unset, since runs always log and keep checkpoints",
            "throughput logs the speed of training",
        )  # fmt: skip
    _write_enums_out(options.callbacks)
    _check_numbers(options)
    _check_profiler(options.profiler)
    _check_machine(options)
    _choose_strategy(options)
    _complete_epoch_options(options)


def _write_enums_out(callbacks: Any) -> None:
    """Put words in the place of enums among callbacks' arguments (`Timer` has one): YAML cannot hold them."""
    for block in callbacks if isinstance(callbacks, list) else [callbacks]:
        arguments: Any = getattr(block, "init_args", None)
        for name, value in vars(arguments).items() if arguments is not None else ():
            if isinstance(value, Enum):
                arguments[name] = value.value


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name, least in LEAST.items():
        value = options[name]
        if value is not None and not isinstance(value, bool) and value < least:
            raise InvalidValue(f"trainer.{name}", _short(value), f"must be at least {least}")
    for name in SHARES:
        _check_share(name, options[name])
    interval = options["val_check_interval"]
    if isinstance(interval, int | float):
        _check_share("val_check_interval", interval)
        if interval == 0:
            raise InvalidValue(
                "trainer.val_check_interval", 0, "must be above 0", "set trainer.limit_val_batches 0 to do without"
            )


def _check_share(name: str, value: int | float | None) -> None:
    if value is not None and not (0 <= value <= 1 or (value > 1 and value % 1 == 0)):
        raise InvalidValue(f"trainer.{name}", _short(value), "must be a whole number, or a share from 0.0 to 1.0")


def _check_profiler(profiler: Any) -> None:
    if isinstance(profiler, str) and profiler.lower() not in PROFILERS:
        raise InvalidValue("trainer.profiler", profiler, f"must be one of {', '.join(PROFILERS)}, or a class")


def _check_machine(options: Mapping[str, Any]) -> None:
    """The accelerator is there, and something has started the processes of several nodes."""
    accelerator = options["accelerator"]
    if isinstance(accelerator, str):
        there = available_accelerators()
        wanted = {"gpu": ("cuda", "mps")}.get(accelerator.lower(), (accelerator.lower(),))
        if accelerator.lower() != "auto" and not set(wanted) & set(there):
            build = " (this PyTorch is built for CPUs alone)" if "cuda" in wanted and torch.version.cuda is None else ""
            raise InvalidValue(
                "trainer.accelerator", accelerator, f"is not available here{build}",
                f"take one of {', '.join(['auto', *there])}",
            )  # fmt: skip
    if options["num_nodes"] > 1 and not _started_by_cluster(options):
        raise InvalidValue(
            "trainer.num_nodes", options["num_nodes"], "would wait for nodes that nothing starts",
            "start the command on each node by torchrun or srun, or set MASTER_ADDR, MASTER_PORT and NODE_RANK there",
        )  # fmt: skip


def _started_by_cluster(options: Mapping[str, Any]) -> bool:
    """Whether other nodes may be at work: an address is known, or a launcher's or the user's environment is there."""
    known = {"NODE_RANK", "GROUP_RANK", "MASTER_ADDR"} & set(os.environ)
    return bool(known or options["plugins"]) or any(cluster.detect() for cluster in CLUSTERS)


def listed_callbacks(given: Any) -> list[Callback]:
    """The value of `trainer.callbacks` as a list: it may be one callback, or nothing."""
    return [given] if isinstance(given, Callback) else list(given or [])


def forget_empty_groups(model: Any) -> None:
    """Let a group of the model's options that is null, such as `adversary: null`, stand for its defaults."""
    arguments = model.get("init_args") or {}
    for name in ("adversary", "optimization"):
        if name in arguments and arguments[name] is None:
            del arguments[name]


def available_accelerators() -> list[str]:
    """Names of the accelerators that this machine has, `cpu` among them."""
    return [name for name in AcceleratorRegistry if AcceleratorRegistry[name]["accelerator"].is_available()]


def _choose_strategy(options: Any) -> None:
    check_options(options)
    try:
        if options.strategy == "auto" and takes_several_devices(options):
            options.strategy = SEVERAL_DEVICES
    except RuntimeError as error:  # of a cluster's variables
        raise InvalidValue(
            "The cluster's environment", None, f"does not fit what Lightning needs ({first_line(error)})",
            "correct the job script, or unset those variables",
        ) from error  # fmt: skip
    except (MisconfigurationException, TypeError, ValueError) as error:  # as Lightning refuses numbers of devices
        wanted = f"{options.devices} with trainer.accelerator {options.accelerator}"
        raise InvalidValue(
            "trainer.devices", wanted, f"cannot be used here ({first_line(error)})",
            "give a number of devices, such as 1",
        ) from error  # fmt: skip


def _complete_epoch_options(options: Any) -> None:
    """A fraction as `val_check_interval` is one of an epoch, also where `check_val_every_n_epoch` is null.

    Lightning refuses it there. And `min_steps` alone does not ask for a whole epoch.
    """
    if isinstance(options.val_check_interval, float | None) and options.check_val_every_n_epoch is None:
        options.check_val_every_n_epoch = 1
    if options.min_epochs is None:
        options.min_epochs = 0


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
