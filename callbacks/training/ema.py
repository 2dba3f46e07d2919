"""Exponential moving average of the codec's weights: used for validation, and what a checkpoint's codec holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor

from codec.errors import InvalidValue
from codec.training.alternating import WeightAverage
from codec.training.distributed.sharded_tensors import full_tensor, group_by_sharding, shard_like

KEY = "codec_ema"
PREFIX = "codec."


class CodecEMA(Callback, WeightAverage):
    """Averages `pl_module.codec` alone: its parameters and floating-point buffers, not discriminators or losses.

    Validation runs on the averaged weights, and training goes on exactly from the raw ones. A checkpoint's
    `state_dict` holds the averaged weights under `codec.`, so that `test`, `predict` and plain weight loading get
    them without this callback; `checkpoint["codec_ema"]` holds the raw weights, from which `fit` resumes bit for
    bit. After `fit` the codec keeps the averaged weights.

    Place it anywhere in the list of callbacks: Lightning runs checkpoint callbacks last. Lightning does not call
    callbacks for a weights-only checkpoint; there the module itself stores the average (`store_averages`).

    Args:
        decay: Share of the average kept at each update, in [0, 1).
        every_n_batches: Batches between updates.
        start_batch: Batches during which the average just follows the raw weights.
        warmup: Use min(decay, (1 + n) / (10 + n)) at the n-th update, so that a short run forgets its start.

    Raises:
        InvalidValue: A number is out of range.
    """

    def __init__(
        self, decay: float = 0.999, every_n_batches: int = 1, *, start_batch: int = 0, warmup: bool = True
    ) -> None:
        if not 0 <= decay < 1 or every_n_batches < 1 or start_batch < 0:
            raise InvalidValue(
                "decay",
                decay,
                f"must lie in [0, 1), every_n_batches {every_n_batches} be at least 1 and start_batch {start_batch} at "
                "least 0",
            )
        self.decay, self.every_n_batches = decay, every_n_batches
        self.start_batch, self.warmup = start_batch, warmup
        self.batches = 0
        self.updates = 0
        self._other: dict[str, Tensor] = {}  # weights outside the codec: averaged, or raw if swapped
        self._swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "fit":
            return
        if self._swapped:  # a second fit goes on from the raw weights
            self._swap(pl_module)
        if not self._other:
            self._other = {name: tensor.detach().clone() for name, tensor in trained_weights(pl_module).items()}

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._other:  # not in fit: the codec has the averaged weights already
            return
        weights = trained_weights(pl_module)
        saved = checkpoint.get(KEY)
        if saved is None:
            rank_zero_warn("the checkpoint holds no raw weights of CodecEMA: the average starts from its weights")
        # By now the codec holds the checkpoint's averaged weights.
        _copy(weights, self._other)
        if saved is not None:
            _copy({name: tensor for name, tensor in saved["raw"].items() if name in weights}, weights)
            self.batches, self.updates = saved["batches"], saved["updates"]

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        weights = trained_weights(pl_module)  # on their device by now
        self._other = {n: shard_like(tensor.to(weights[n].device), weights[n]) for n, tensor in self._other.items()}

    @torch.no_grad()
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Tensor | Mapping[str, Any] | None,
        batch: Any,
        batch_idx: int,
    ) -> None:
        self.batches += 1
        weights = trained_weights(pl_module)
        if self.batches <= self.start_batch:
            _copy(weights, self._other)
        elif self.batches % self.every_n_batches == 0:
            decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
            averaged = {n: self._other[n] for n, tensor in weights.items() if tensor.is_floating_point()}
            for averages, values in _pairs(averaged, weights):
                torch._foreach_lerp_(averages, values, 1 - decay)
            _copy({n: tensor for n, tensor in weights.items() if not tensor.is_floating_point()}, self._other)
            self.updates += 1

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self._other and not self._swapped:
            self._swap(pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.state.fn == "fit" and self._swapped:
            self._swap(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self._swapped and trainer.state.fn == "fit":
            self._swap(pl_module)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not self._swapped:
            self._swap(pl_module)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        if not self._other:
            return
        weights = trained_weights(pl_module)
        raw = self._other if self._swapped else weights
        checkpoint[KEY] = {
            "raw": {name: full_tensor(tensor).detach().clone() for name, tensor in raw.items()},
            "batches": self.batches,
            "updates": self.updates,
        }
        checkpoint["state_dict"].update(self.averaged_weights(pl_module))

    def averaged_weights(self, module: LightningModule) -> dict[str, Tensor]:
        if not self._other:
            return {}
        averaged = trained_weights(module) if self._swapped else self._other
        return {PREFIX + name: full_tensor(tensor).detach().clone() for name, tensor in averaged.items()}

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        """Exchange the values of the codec's weights and the others, in place and bit for bit."""
        weights = trained_weights(pl_module)
        held = {name: tensor.clone() for name, tensor in weights.items()}
        _copy(self._other, weights)
        _copy(held, self._other)
        self._swapped = not self._swapped


def trained_weights(pl_module: LightningModule) -> dict[str, Tensor]:
    """What the codec stores and trains, by name: each parameter and persistent buffer once per name."""
    codec = pl_module.codec
    assert isinstance(codec, torch.nn.Module)
    state = codec.state_dict(keep_vars=True)
    return {name: value.data for name, value in state.items() if isinstance(value, Tensor) and not _is_frozen(value)}


def _is_frozen(value: Tensor) -> bool:
    """Whether a tensor is a parameter that no optimizer steps, so that its average equals it."""
    return isinstance(value, torch.nn.Parameter) and not value.requires_grad


@torch.no_grad()
def _copy(source: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> None:
    for values, held in _pairs({name: target[name] for name in source}, source):
        if type(values[0]) is Tensor:
            torch._foreach_copy_(values, held)
            continue
        for value, new in zip(values, held, strict=True):  # sharded: PyTorch has no operation on lists of them
            value.copy_(new)


def _pairs(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> list[tuple[list[Tensor], list[Tensor]]]:
    """Lists of tensors of equal names, in few groups whose members go through one operation together."""
    others = [right[name] for name in left]
    return list(zip(group_by_sharding(left.values()), group_by_sharding(others), strict=True))
