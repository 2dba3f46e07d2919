"""Every private name of Lightning that this project touches, each with its reason and the issue behind it (PL#n).

Those of its command line are in `codec.cli.lightning_internals`, which needs jsonargparse; training does not.

Tried with lightning 2.6; `tests/codec/training/test_lightning_internals.py` has a canary for each name, so that a new
release that moves one fails there and not in the middle of a run.
"""

import signal
from collections.abc import Mapping
from typing import Any

from lightning import LightningModule, Trainer
from lightning.fabric.plugins.environments import ClusterEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.strategies import DDPStrategy, ParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.trainer.connectors.accelerator_connector import _AcceleratorConnector
from torch import Tensor

from codec.training.transfers import fetch_values

# -- batches -------------------------------------------------------------------------------------------------------


def stop_counting_optimizer_steps(optimizer: LightningOptimizer) -> None:
    """Keep an optimizer's step from advancing `trainer.global_step`, which then counts batches (PL#17958)."""
    optimizer._on_before_step = optimizer._on_after_step = lambda: None


def count_batch(trainer: Trainer) -> None:
    """Advance `trainer.global_step` by one, as a single optimizer's step would (PL#17958)."""
    progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
    progress.increment_ready()
    progress.increment_completed()


def attached_trainer(module: LightningModule) -> Trainer | None:
    """The module's trainer; None where it has none, for which the public property raises."""
    return module._trainer


# -- checkpoints and validation ------------------------------------------------------------------------------------


def validation_is_due(trainer: Trainer) -> bool:
    """Whether validation follows this batch: a checkpoint has to be written before it (PL#14431)."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def training_is_done(trainer: Trainer) -> bool:
    """Whether this batch is the last one."""
    return trainer.fit_loop.epoch_loop._is_training_done


def run_validation(trainer: Trainer) -> None:
    """Validate now, from the first clip: a resumed run would validate one clip alone (PL#19549, PL#20288)."""
    loop = trainer.fit_loop.epoch_loop.val_loop
    loop.restarting = False
    trainer.validating = True
    loop.run()
    trainer.training = True


def extend_training(trainer: Trainer, batches: int) -> None:
    """Move the end of training: the loop of a run that is resumed at its last batch would not start (PL#20288)."""
    trainer.fit_loop.epoch_loop.max_steps += batches


def dump_checkpoint(trainer: Trainer) -> dict[str, Any]:
    """The state of the whole run; `trainer.save_checkpoint` would write it in the same call (PL#14431)."""
    return trainer._checkpoint_connector.dump_checkpoint(weights_only=False)


def every_n_train_steps(callback: ModelCheckpoint) -> int:
    """How often a `ModelCheckpoint` saves, 0 for not by steps; it has no public name."""
    return callback._every_n_train_steps


# -- logged values -------------------------------------------------------------------------------------------------


def values_due(trainer: Trainer) -> dict[str, float]:
    """What Lightning will log of this batch after the callbacks' hook, empty between two logs (PL#14431)."""
    connector = trainer._logger_connector
    values = connector.metrics["log"] if connector.should_update_logs else {}
    return fetch_values(values)


def log_interval(trainer: Trainer) -> int:
    """Batches between two logs; the trainer sets it without declaring it."""
    return trainer.log_every_n_steps  # type: ignore[attr-defined]


def log_values(trainer: Trainer, values: Mapping[str, Any]) -> None:
    """Log values of a batch outside of its step."""
    trainer._logger_connector.log_metrics(dict(values))


def log_step(module: LightningModule, values: Mapping[str, Tensor], **options: Any) -> None:
    """`log_dict` of a training step; names logged before in the epoch take their new values without being registered.

    Lightning walks through all it knows of a value at each call of `log`, for .3 ms or more: the values of a step took
    it 4 ms, a twentieth of what a small codec's step on a GPU asks of the host.

    Args:
        module: logs by itself where it has no trainer.
        values: scalars, each on the device where it was logged before.
        options: of `log`, the same at each step.
    """
    trainer = attached_trainer(module)
    results = None if trainer is None or not trainer.training else trainer._results
    if trainer is None or not results or trainer._logger_connector.should_reset_tensors("training_step"):
        module.log_dict(values, **options)  # the first of an epoch also forgets the values of the one before
        return
    unknown = {name: value for name, value in values.items() if f"training_step.{name}" not in results}
    module.log_dict(unknown, **options)
    for name, value in values.items():
        if name not in unknown:
            results.update_metrics(f"training_step.{name}", value, 1)


def forget_value(trainer: Trainer, name: str) -> None:
    """Remove a value of an earlier validation, so that it is not taken for one of the next."""
    trainer._logger_connector._callback_metrics.pop(name, None)


# -- ranks and signals ---------------------------------------------------------------------------------------------


def cluster_environment(trainer: Trainer) -> ClusterEnvironment | None:
    """The cluster that the run is on; Lightning's own signal handlers save in the middle of a batch (PL#21406)."""
    return trainer._accelerator_connector.cluster_environment


def starts_elsewhere(trainer: Trainer) -> bool:
    """Whether something else, such as torchrun or SLURM, has started this rank and the others."""
    environment = cluster_environment(trainer)
    return environment is not None and environment.creates_processes_externally


def shards_clips_again(trainer: Trainer) -> bool:
    """Whether Lightning would put a `DistributedSampler`, which repeats clips, over the data module's own sharding."""
    return trainer.world_size > 1 and trainer._accelerator_connector.use_distributed_sampler


def copy_weights_of_rank_0(module: LightningModule) -> None:
    """Give every rank the weights and buffers of rank 0, as DDP's wrapper does (PL#20328)."""
    _sync_module_states(module)


def takes_several_devices(options: Mapping[str, Any]) -> bool:
    """Whether the Trainer would choose `ddp` by itself: how many devices `auto`, -1 or "0,1" mean has no public name.

    Args:
        options: `accelerator`, `devices` and `num_nodes` of the Trainer.
    """
    chosen = {name: options[name] for name in ("accelerator", "devices", "num_nodes")}
    return isinstance(_AcceleratorConnector(strategy="auto", **chosen).strategy, ParallelStrategy)


def choose_backend(strategy: DDPStrategy, backend: str) -> None:
    """Set a strategy's process-group backend once its device is known; Lightning takes `nccl` alone for GPUs."""
    strategy._process_group_backend = backend


def stop_asking_for_sigterm(trainer: Trainer) -> None:
    """Keep Lightning from broadcasting before each batch, over the GPUs, whether its SIGTERM handler ran (PL#21487)."""
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def kill_launched(launcher: object) -> None:
    """End the ranks that this process has launched: one that is stopped or stuck would stay behind."""
    if isinstance(launcher, _SubprocessScriptLauncher):
        launcher.kill(signal.SIGKILL)
