"""Muon, an optimizer that moves all directions of a matrix alike, with AdamW for what is no matrix."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from codec.errors import InvalidValue
from codec.training.float32_precision import has_bfloat16

SMALLEST_SIDE = 16  # of what is treated as a matrix; depthwise kernels and FSQ's projections have shorter ones
# The polynomial a x + b x^3 + c x^5 of Jordan's iteration: it drives singular values from (0, 1] to around 1 fast, and
# leaves them between about 0.7 and 1.2.
A, B, C = 3.4445, -4.7750, 2.0315


class Muon(Optimizer):
    """Muon (K. Jordan 2024; arXiv 2502.16982) for matrices, AdamW for all other parameters.

    A matrix moves along its momentum with all singular values set to about 1, so that directions in which gradients
    are small are learned as fast as those in which they are large. Weights of convolutions count as matrices of output
    channels by inputs. A matrix has at least 16 rows and columns.

    The learning rate of the matrices is the change of each singular direction in a step, times √(rows / columns) where
    that is above 1; a schedule scales both rates. One step costs about 20 · min(rows, columns) operations a number of a
    matrix beyond AdamW's.

    Args:
        params: parameters, not sharded ones.
        lr: of AdamW.
        matrix_lr: of the matrices.
        betas: decay of AdamW's averages of gradients and of their squares.
        momentum: decay of the matrices' average of gradients, with Nesterov's step ahead.
        weight_decay: share of the weights that a step at learning rate 1 takes away.
        iterations: of the orthogonalisation.

    Raises:
        InvalidValue: a rate or a decay is outside its range, or a parameter is sharded.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-3,
        matrix_lr: float = 0.02,
        *,
        betas: tuple[float, float] = (0.8, 0.9),
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        iterations: int = 5,
    ) -> None:
        for name, value in (("lr", lr), ("matrix_lr", matrix_lr), ("weight_decay", weight_decay)):
            if not 0 <= value < float("inf"):
                raise InvalidValue(name, value, "of Muon must be a number of at least 0")
        for name, value in (("momentum", momentum), *(("betas", beta) for beta in betas)):
            if not 0 <= value < 1:
                raise InvalidValue(name, value, "of Muon must lie between 0 and 1, without 1")
        if iterations < 1:
            raise InvalidValue("iterations", iterations, "of Muon must be at least 1", "take 5")
        given = list(params)
        if any(isinstance(parameter, DTensor) for parameter in given):
            raise InvalidValue("Muon", allowed="needs whole matrices, not shards", remedy="take torch.optim.AdamW")
        groups = [
            {"params": [p for p in given if not is_matrix(p)], "lr": lr, "matrices": False},
            {"params": [p for p in given if is_matrix(p)], "lr": matrix_lr, "matrices": True},
        ]
        defaults = {"betas": tuple(betas), "momentum": momentum, "weight_decay": weight_decay, "iterations": iterations}
        super().__init__(groups, {"lr": lr, "matrices": False, **defaults})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the parameters that have gradients; returns what `closure` does."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            move = self._move_matrix if group["matrices"] else self._move
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    move(parameter, parameter.grad, self.state[parameter], group)
        return loss

    @staticmethod
    def _move_matrix(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state["average"] = torch.zeros_like(parameter)
        average: Tensor = state["average"]
        average.lerp_(gradient, 1 - group["momentum"])
        ahead = gradient.lerp(average, group["momentum"]).flatten(1)
        step = orthogonalised(ahead, group["iterations"])
        size = group["lr"] * max(1.0, ahead.shape[0] / ahead.shape[1]) ** 0.5
        parameter.sub_(step.view_as(parameter).to(parameter.dtype), alpha=size)

    @staticmethod
    def _move(parameter: Tensor, gradient: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        if not state:
            state.update(average=torch.zeros_like(parameter), square=torch.zeros_like(parameter), steps=0)
        state["steps"] += 1
        first, second = group["betas"]
        state["average"].lerp_(gradient, 1 - first)
        state["square"].lerp_(gradient.square(), 1 - second)
        spread = (state["square"] / (1 - second ** state["steps"])).sqrt_().add_(1e-8)
        parameter.addcdiv_(state["average"], spread, value=-group["lr"] / (1 - first ** state["steps"]))


def is_matrix(parameter: Tensor) -> bool:
    """Whether a parameter, its axes after the first taken together, has at least 16 rows and columns."""
    return parameter.ndim >= 2 and min(parameter.shape[0], parameter[0].numel()) >= SMALLEST_SIDE


def orthogonalised(matrix: Tensor, iterations: int) -> Tensor:
    """A matrix of the same singular vectors with singular values of about 1, by Jordan's Newton-Schulz iteration.

    Args:
        matrix: `[rows, columns]`.
        iterations: 5 suffice for singular values down to a thousandth of the largest.

    Returns:
        `[rows, columns]`; in bfloat16 where the device has it, which is what it is computed in, else in float32.
    """
    x = matrix.to(torch.bfloat16 if has_bfloat16(matrix.device) else torch.float32)
    x = x / (x.norm() + 1e-7)  # singular values of at most 1
    wide = x if x.shape[0] <= x.shape[1] else x.T
    for _ in range(iterations):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=B, alpha=C), wide, beta=A)
    return wide if x.shape[0] <= x.shape[1] else wide.T
