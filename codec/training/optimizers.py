"""Optimizers of a training step: how they are made, fused where possible, and how their gradients are clipped."""

import math
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from codec.errors import InvalidValue, UserError, first_line
from codec.training.distributed.sharded_tensors import full_tensor, group_by_sharding
from codec.training.schedules import Schedule

OptimizerCallable = Callable[[Iterable], Optimizer]  # as `lightning.pytorch.cli` has it, but without jsonargparse
FUSED_DEVICES = ("cpu", "cuda")


def adamw(parameters: Any) -> Optimizer:
    """X-Codec 2's optimizer."""
    return torch.optim.AdamW(parameters, lr=1e-4, betas=(0.8, 0.9))


@dataclass(frozen=True)
class Optimization:
    """How the generator is optimized, and what holds for all optimizers of a module.

    Args:
        optimizer: makes the generator's optimizer from its parameters.
        schedule: factor on its learning rate by batch; constant by default.
        gradient_clip: largest gradient norm per optimizer, 0 for none.
        accumulate: batches per optimizer step.

    Raises:
        InvalidValue: `gradient_clip` is negative or NaN, or `accumulate` is below 1.
    """

    optimizer: OptimizerCallable = adamw
    schedule: Schedule | None = None
    gradient_clip: float = 1.0
    accumulate: int = 1

    def __post_init__(self) -> None:
        if not self.gradient_clip >= 0:  # NaN too
            raise InvalidValue("gradient_clip", self.gradient_clip, "must be a norm above 0, or 0 for no clipping")
        if self.accumulate < 1:
            raise InvalidValue("accumulate", self.accumulate, "must be at least 1 batch per optimizer step")


def make_optimizer(make: OptimizerCallable, parameters: Iterable, *, option: str) -> Optimizer:
    """An optimizer of the parameters, fused where possible; `option` names it in errors.

    Raises:
        InvalidValue: It cannot be made, or see `check_optimizer`.
        UserError: what a constructor says of its arguments.
    """
    try:
        optimizer = make(parameters)
    except UserError:  # says itself what to do
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__}: {first_line(error)}, {Path(place.filename).name} line {place.lineno}"
        raise InvalidValue(option, None, f"cannot be made ({reason})", "correct its init_args") from error
    return fuse(check_optimizer(optimizer))


def check_optimizer(optimizer: Optimizer) -> Optimizer:
    """The optimizer, if a step of a module can be its step.

    Raises:
        InvalidValue: It evaluates the loss by itself, takes sparse gradients alone, or has an infinite learning rate.
    """
    name = type(optimizer).__name__
    if isinstance(optimizer, torch.optim.LBFGS | torch.optim.SparseAdam):
        reason = "evaluates the loss itself" if isinstance(optimizer, torch.optim.LBFGS) else "takes sparse gradients"
        raise InvalidValue(f"The optimizer {name}", allowed=reason, remedy="take torch.optim.AdamW")
    for group in optimizer.param_groups:
        rate = float(group["lr"])
        if not 0 <= rate < math.inf:
            raise InvalidValue("lr", rate, f"of {name} must be a number of at least 0")
    return optimizer


def fuse(optimizer: Optimizer) -> Optimizer:
    """Let Adam or AdamW step each group in one pass (`fused`), unless its user has chosen an implementation.

    Also has Lightning unscale fp16 gradients before they are clipped: it leaves that to a fused optimizer, whose
    gradients would be clipped at their scaled norm.
    """
    if type(optimizer) in (torch.optim.Adam, torch.optim.AdamW):
        for group in optimizer.param_groups:
            chosen = group["fused"] is not None or group["foreach"] is not None
            if not (chosen or group["differentiable"]) and all(_may_fuse(p) for p in group["params"]):
                group["fused"] = True
    if hasattr(optimizer, "_step_supports_amp_scaling"):
        optimizer._step_supports_amp_scaling = False
    return optimizer


def _may_fuse(parameter: Tensor) -> bool:
    device = parameter.device.type in FUSED_DEVICES
    return device and parameter.is_floating_point() and not isinstance(parameter, DTensor)


def gradient_norm(gradients: Iterable[Tensor]) -> Tensor:
    """Norm of all gradients together, a scalar on their device, over all shards."""
    norms = [full_tensor(torch.nn.utils.get_total_norm(kind)) for kind in group_by_sharding(gradients)]
    return norms[0] if len(norms) == 1 else torch.stack(norms).norm()


def clip(parameters: Iterable[nn.Parameter], norm: Tensor, *, largest: float) -> None:
    """Scale gradients of this norm down to `largest`; 0 leaves them as they are."""
    if largest > 0:
        for kind in group_by_sharding(parameters):
            torch.nn.utils.clip_grads_with_norm_(kind, largest, norm)


def skip_unless_finite(optimizer: Optimizer, norm: Tensor) -> Tensor:
    """Drop gradients whose norm is not finite; returns the number of dropped steps, 0 or 1, on the norm's device.

    A fused optimizer looks at `found_inf` on the device and skips its step by itself, so that the host need not wait.
    """
    infinite = (norm * 0).ne(0).float()  # 0 · norm is NaN unless the norm is finite
    if all(group.get("fused") for group in optimizer.param_groups):
        optimizer.found_inf = infinite  # type: ignore[attr-defined]
    elif infinite:
        optimizer.zero_grad(set_to_none=True)
    return infinite
