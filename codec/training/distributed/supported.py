"""Which strategies and precisions of the Trainer work with modules of several optimizers, and which are refused."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from lightning import Trainer
from lightning.pytorch.plugins import AsyncCheckpointIO, MixedPrecision, Precision
from lightning.pytorch.strategies import SingleDeviceStrategy, Strategy, StrategyRegistry

from codec.errors import InvalidValue
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.supported_callbacks import check_callbacks
from codec.training.lightning_internals import shards_clips_again

SEVERAL_DEVICES = "ddp_alternating"  # what several devices choose by themselves
WORKING = (SingleDeviceStrategy, AlternatingDDPStrategy)
PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "16-mixed", "16")


def check_trainer(trainer: Trainer | None) -> None:
    """Refuse a trainer that does not work; for the module's `setup`, where None stands for no trainer.

    Raises:
        InvalidValue: See `check_callbacks`; or Lightning would shard the clips that the data module has sharded
            already, the strategy averages gradients itself (`ddp`, `fsdp`, `deepspeed`), or the precision converts the
            weights.
    """
    if trainer is None:
        return
    if shards_clips_again(trainer):
        raise InvalidValue(
            "trainer.use_distributed_sampler", True, "must be false: the data module gives each rank its own clips",
            "set the Trainer's use_distributed_sampler to false",
        )  # fmt: skip
    if not isinstance(trainer.strategy, WORKING):
        raise unsupported_strategy(type(trainer.strategy).__name__)
    if not isinstance(trainer.precision_plugin, MixedPrecision) and type(trainer.precision_plugin) is not Precision:
        raise unsupported_precision(trainer.precision_plugin.precision)
    if isinstance(trainer.strategy.checkpoint_io, AsyncCheckpointIO):
        raise InvalidValue(
            "trainer.plugins", "AsyncCheckpointIO", "writes a checkpoint after the run has gone on without it",
            "leave it out: a run must find its last checkpoint after a crash",
        )  # fmt: skip
    check_callbacks(trainer.callbacks)  # type: ignore[attr-defined]


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse the same by the Trainer's options as parsed, before anything is built or downloaded.

    Raises:
        InvalidValue: see `check_trainer`, or no strategy has this name.
    """
    strategy, precision = options["strategy"], options["precision"]
    if strategy != "auto" and not issubclass(_strategy_class(strategy), WORKING):
        raise unsupported_strategy(strategy if isinstance(strategy, str) else strategy["class_path"])
    if precision is not None and str(precision) not in PRECISIONS:
        raise unsupported_precision(precision)


def unsupported_strategy(name: str) -> InvalidValue:
    return InvalidValue(
        "trainer.strategy", name,
        "must be ddp_alternating, fsdp_alternating, or auto on one device, as the gradients of one optimizer at a time "
        "are averaged",
        f"take {SEVERAL_DEVICES}",
    )  # fmt: skip


def unsupported_precision(name: object) -> InvalidValue:
    return InvalidValue(
        "trainer.precision", name,
        "must be 32-true, bf16-mixed or 16-mixed, because quantizers, STFTs and mel spectrograms compute in float32",
        "take bf16-mixed",
    )  # fmt: skip


def _strategy_class(given: Any) -> type:
    """The class of a registered name, of a block with `class_path`, or of a strategy; `Strategy` if unknown."""
    if isinstance(given, str):
        return StrategyRegistry[given.lower()]["strategy"] if given.lower() in StrategyRegistry else Strategy
    if isinstance(given, Strategy):
        return type(given)
    module, _, name = given["class_path"].rpartition(".")
    return getattr(import_module(module), name)
