"""Manual optimisation of several optimizers done right: batches counted once, clipping, accumulation, skipped steps."""

import hashlib
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import lightning as L
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor, nn
from torch.optim import Optimizer

from codec.checkpoints.files import FORMAT_VERSION
from codec.errors import InvalidValue, UnreadableFile
from codec.training.distributed.averaging import average_over_ranks, overlapped_average
from codec.training.distributed.sharded_tensors import full_tensor, group_by_sharding, shard_like
from codec.training.distributed.supported import check_trainer
from codec.training.epochs import EpochLength, count_epochs_in_batches
from codec.training.float32_precision import Float32Precision
from codec.training.lightning_internals import (
    attached_trainer,
    count_batch,
    stop_counting_optimizer_steps,
)
from codec.training.optimizers import Optimization, clip, gradient_norm, skip_unless_finite
from codec.training.rates import check_rates
from codec.training.schedules import Constant, Schedule

OTHER_RUN = (
    "to go on with a run, configure the same parts and frozen_parts as it did; for a new run that starts from its "
    "weights, give it as model.init_args.init_from instead of ckpt_path"
)


class WeightAverage(ABC):
    """A callback that keeps an average of weights, which checkpoints hold in place of the weights themselves."""

    @abstractmethod
    def averaged_weights(self, module: L.LightningModule) -> dict[str, Tensor]:
        """The average by its names in the module's `state_dict`; empty where there is none."""


class AlternatingOptimization(L.LightningModule):
    """Base of modules that step several optimizers in a batch.

    `trainer.global_step` counts batches, however many optimizers step: `max_steps`, checkpoint intervals and the
    progress bar all mean batches. Gradients are averaged over ranks by this module right before an optimizer step
    (see `codec.training.distributed.averaging`), so a backward pass may reach any subset of the parameters.

    Args:
        optimization: optimizer and schedule of the generator; clipping and accumulation of all optimizers.
        seed: of everything random in a training step (dropout, noise), redrawn at each batch from (seed, batch, rank).
    """

    def __init__(self, optimization: Optimization, *, seed: int) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimization, self.seed = optimization, seed
        self.schedule = optimization.schedule or Constant()
        self.gradient_clip, self.accumulate = optimization.gradient_clip, optimization.accumulate
        self._skipped: Tensor | float = 0.0
        self.config: dict | None = None  # class_path and init_args as parsed by the command line
        self._scale_at_start: dict[int, float] = {}
        self._norms: dict[int, Tensor] = {}
        self._accumulation: dict | None = None
        self._saved_norms: list[Tensor] = []

    def setup(self, stage: str) -> None:
        """Refuse a trainer, or rates of its data module, that do not work with this module."""
        check_trainer(attached_trainer(self))
        check_rates(attached_trainer(self), self.codec)

    def on_epochs_known(self, length: EpochLength) -> None:
        """Give the trainer batches for its options about epochs; a data module calls this in its `setup("fit")`."""
        rank_zero_info(count_epochs_in_batches(self.trainer, length))

    def configure_callbacks(self) -> list[L.Callback]:
        """TF32 in training alone."""
        return [Float32Precision()]

    def on_fit_start(self) -> None:
        """Silence Lightning's advice to save before the optimizer step: here the state after a batch is saved.

        Raises:
            InvalidValue: weights were made where nothing can be trained.
        """
        if any(weight.is_inference() for weight in self.parameters()):
            remedy = "build or load the codec outside of it"
            raise InvalidValue("A module made under torch.inference_mode", allowed="cannot be trained", remedy=remedy)
        warnings.filterwarnings("ignore", message="Using ModelCheckpoint with manual optimization")

    # -- one batch ---------------------------------------------------------------------------------------------

    def begin_batch(self) -> None:
        """Seed this batch's randomness and stop Lightning from counting optimizer steps as batches."""
        key = f"{self.seed}\0{self.global_step}\0{self.global_rank}".encode()
        torch.manual_seed(int.from_bytes(hashlib.sha256(key).digest()[:8], "little", signed=True))
        for optimizer in self.lightning_optimizers():
            stop_counting_optimizer_steps(optimizer)

    def end_batch(self) -> None:
        """Count one batch."""
        count_batch(self.trainer)

    def descend(self, loss: Tensor, optimizer: LightningOptimizer, schedule: Schedule, *, batch: int) -> None:
        """Add a loss's gradients and, at the end of each accumulation, average, clip and step.

        Args:
            loss: scalar.
            optimizer: owns every parameter that the loss may reach and that is not frozen.
            schedule: factor on the learning rate.
            batch: number of this batch for the schedule.
        """
        self.add_gradients(loss, optimizer)
        self.step(optimizer, schedule, batch=batch)

    def add_gradients(self, loss: Tensor, optimizer: LightningOptimizer, **options: Any) -> None:
        """Backward pass of a loss; its gradients are averaged over ranks at the end of an accumulation.

        Args:
            loss: scalar.
            optimizer: owns every parameter that gets a gradient.
            options: of `Tensor.backward`, such as `retain_graph`.
        """
        self._follow_scale(optimizer)
        with overlapped_average(owned(optimizer)) if self._completes_accumulation() else nullcontext():
            self.manual_backward(loss / self.accumulate, **options)

    def step(self, optimizer: LightningOptimizer, schedule: Schedule, *, batch: int) -> None:
        """Clip and step at the end of each accumulation."""
        if not self._completes_accumulation():
            return
        self._follow_scale(optimizer)  # the other optimizer may have stepped since the backward pass
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("initial_lr", group["lr"]) * schedule(batch)
        optimizer.step()
        optimizer.zero_grad()
        self._scale_at_start.pop(id(optimizer.optimizer), None)

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Measure and clip the unscaled gradient; one that is not finite is dropped, on every rank alike."""
        parameters = list(owned(optimizer))
        gradients = [p.grad for p in parameters if p.grad is not None]
        if not gradients:
            return
        norm = gradient_norm(gradients)
        clip(parameters, norm, largest=self.gradient_clip)
        self._skipped = self._skipped + skip_unless_finite(optimizer, norm)
        self._norms[id(optimizer)] = norm

    @property
    def skipped_steps(self) -> int:
        """Optimizer steps left out so far because a gradient was not finite; reading it waits for the device."""
        return int(self._skipped)

    def _completes_accumulation(self) -> bool:
        return (self.global_step + 1) % self.accumulate == 0

    def gradient_norm(self, optimizer: LightningOptimizer) -> Tensor:
        """Norm before clipping at the optimizer's last step, NaN before the first."""
        return self._norms.get(id(optimizer.optimizer), torch.tensor(float("nan")))

    def lightning_optimizers(self) -> list[LightningOptimizer]:
        """The module's optimizers, always as a list."""
        optimizers = self.optimizers()
        return list(optimizers) if isinstance(optimizers, list) else [optimizers]

    def _follow_scale(self, optimizer: LightningOptimizer) -> None:
        """Under fp16, the other optimizer's step may change the loss scale halfway through an accumulation."""
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is None:
            return
        scale, key = scaler.get_scale(), id(optimizer.optimizer)
        ratio = scale / self._scale_at_start.get(key, scale)
        if ratio != 1.0:
            for kind in group_by_sharding(p.grad for p in owned(optimizer) if p.grad is not None):
                torch._foreach_mul_(kind, ratio)
        self._scale_at_start[key] = scale

    # -- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Add configuration, skipped steps, gradient norms and, inside an accumulation, its gradients (rank mean).

        Averaged weights replace the raw ones here, because Lightning does not call callbacks for a weights-only
        checkpoint.
        """
        store_averages(self, checkpoint)
        checkpoint["format_version"] = FORMAT_VERSION
        checkpoint["skipped_steps"] = self.skipped_steps
        checkpoint["gradient_norms"] = [self.gradient_norm(optimizer) for optimizer in self.lightning_optimizers()]
        if self.config is not None:
            checkpoint["model_config"] = self.config
        if self.global_step % self.accumulate:
            gathered = {n: full_tensor(p.grad).clone() for n, p in self.named_parameters() if p.grad is not None}
            average_over_ranks(list(gathered.values()))
            scales = [self._scale_at_start.get(id(o.optimizer), 1.0) for o in self.lightning_optimizers()]
            checkpoint["accumulation"] = {"gradients": gathered, "scales": scales}

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Take back what `on_save_checkpoint` added."""
        self._skipped = float(checkpoint.get("skipped_steps", 0))
        self._accumulation = checkpoint.get("accumulation")
        self._saved_norms = checkpoint.get("gradient_norms", [])

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As in any module, but weights of another architecture are a UserError."""
        if strict:
            check_weights(state_dict, self.state_dict())
        return super().load_state_dict(state_dict, strict=strict, assign=assign)

    def on_train_start(self) -> None:
        """Put the last gradient norms, and gradients of an interrupted accumulation, back in place."""
        for optimizer, norm in zip(self.lightning_optimizers(), self._saved_norms, strict=False):
            self._norms[id(optimizer.optimizer)] = norm.to(self.device)
        self._saved_norms = []
        if self._accumulation is None:
            return
        for name, gradient in self._accumulation["gradients"].items():
            parameter = self.get_parameter(name)
            parameter.grad = shard_like(gradient.to(parameter.device), parameter)
        for optimizer, scale in zip(self.lightning_optimizers(), self._accumulation["scales"], strict=True):
            self._scale_at_start[id(optimizer.optimizer)] = scale
        self._accumulation = None

    def on_validation_model_zero_grad(self) -> None:
        """Keep the gradients of an accumulation that a validation falls into: Lightning would clear them."""
        if self.global_step % self.accumulate == 0:
            super().on_validation_model_zero_grad()


def check_weights(theirs: Mapping[str, Any], ours: Mapping[str, Tensor]) -> None:
    """UserError if a checkpoint's weights have other names or shapes than the module's."""
    wrong = [f"Missing key {name}" for name in ours if name not in theirs]
    wrong += [f"Unexpected key {name}" for name in theirs if name not in ours]
    wrong += [
        f"size mismatch for {name}: {list(theirs[name].shape)} in the checkpoint, {list(value.shape)} here"
        for name, value in ours.items()
        if name in theirs and theirs[name].shape != value.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UnreadableFile(
            f"The checkpoint is of another architecture ({'; '.join(wrong[:3])}{more})", remedy=OTHER_RUN
        )


def check_optimizers(checkpoint: Mapping[str, Any], trained: Sequence[Sequence[nn.Parameter]]) -> None:
    """UserError if a checkpoint's optimizers, where it has any, step other numbers of parameters than `trained`."""
    states = checkpoint.get("optimizer_states") or []
    theirs = [sum(len(group["params"]) for group in state["param_groups"]) for state in states]
    ours = [len(parameters) for parameters in trained]
    if states and theirs != ours:
        raise UnreadableFile(
            f"The checkpoint's optimizers train {theirs} tensors, this module's {ours}", remedy=OTHER_RUN
        )


def store_averages(module: L.LightningModule, checkpoint: dict[str, Any]) -> None:
    """Put the averages of the trainer's callbacks into a checkpoint's `state_dict`; for `on_save_checkpoint`."""
    for callback in module.trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, WeightAverage):
            checkpoint["state_dict"].update(callback.averaged_weights(module))


def owned(optimizer: Optimizer | LightningOptimizer) -> Iterable[nn.Parameter]:
    """The parameters an optimizer steps, in order."""
    return (p for group in optimizer.param_groups for p in group["params"])


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Inside, no gradient reaches the module's parameters, though gradients flow through it."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
