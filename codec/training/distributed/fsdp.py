"""The strategy `fsdp_alternating`: `ddp_alternating` with parts of the module sharded over the ranks (FSDP2)."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from lightning import Trainer
from lightning.pytorch.plugins import MixedPrecision
from lightning.pytorch.strategies import StrategyRegistry
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.sharded_tensors import full_tensor, group_by_sharding, shard_like


class AlternatingFSDPStrategy(AlternatingDDPStrategy):
    """Each rank keeps a shard of the large parts' weights, gradients and optimizer state.

    Weights are gathered for the forward pass and freed in the backward pass, which leaves each rank its shard of the
    gradients' mean over ranks. Under bf16-mixed they are gathered in bfloat16, half the traffic and memory, while
    shards, the gradients' mean and the optimizers stay in float32; inputs are not cast, so that STFTs and quantizers
    still compute in float32. Evaluation gathers the weights once, in float32 and on all ranks together, so that ranks
    may have unequal numbers of clips. Checkpoints hold full tensors: their weights load anywhere, and a run resumes on
    any number of ranks with this strategy.

    Args:
        parts: modules to shard.
        unit: a block inside a part that has at least this many parameters is gathered by itself, while the block
            before it computes.
        silence: see `AlternatingDDPStrategy`.
        process_group_backend: see `AlternatingDDPStrategy`.
        timeout: see `AlternatingDDPStrategy`.
        patience: see `AlternatingDDPStrategy`.
    """

    def __init__(
        self,
        parts: Sequence[str] = ("codec.encoder", "codec.decoder"),
        *,
        unit: int = 1_000_000,
        silence: float = 60.0,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
        patience: timedelta = timedelta(hours=24),
    ) -> None:
        super().__init__(silence, process_group_backend=process_group_backend, timeout=timeout, patience=patience)
        self.parts, self.unit = parts, unit
        self._sharded: list[FSDPModule] = []
        self._gathered_in = MixedPrecisionPolicy()

    def configure_ddp(self) -> None:
        """Start from rank 0's weights, and keep this rank's shard of the parts."""
        super().configure_ddp()
        if self._sharded:  # by an earlier fit
            return
        assert self.lightning_module is not None
        plugin = self.precision_plugin
        if isinstance(plugin, MixedPrecision) and plugin.scaler is None:  # fp16 would round weights below 6e-8 to 0
            self._gathered_in = MixedPrecisionPolicy(torch.bfloat16, torch.float32, cast_forward_inputs=False)
        mesh = init_device_mesh(self.root_device.type, (dist.get_world_size(),))
        for name in self.parts:
            part = self.lightning_module.get_submodule(name)
            for unit in [*self._units(part), part]:
                self._sharded.append(
                    fully_shard(unit, mesh=mesh, reshard_after_forward=False, mp_policy=self._gathered_in)
                )

    def _units(self, part: nn.Module) -> list[nn.Module]:
        stacks = [m for m in part.modules() if isinstance(m, nn.Sequential | nn.ModuleList)]
        blocks = {block: None for stack in stacks for block in stack if block is not part}
        large = [block for block in blocks if sum(p.numel() for p in block.parameters()) >= self.unit]
        return [block for block in large if not any(block in list(other.modules())[1:] for other in large)]

    def setup_optimizers(self, trainer: Trainer) -> None:
        """Put sharded and ordinary parameters into separate groups: an optimizer steps each group as a list."""
        super().setup_optimizers(trainer)
        for optimizer in self.optimizers:
            for group in list(optimizer.param_groups):
                group["params"], *further = group_by_sharding(group["params"])
                for parameters in further:
                    optimizer.add_param_group({**group, "params": parameters})

    # -- evaluation ----------------------------------------------------------------------------------------------

    def on_validation_start(self) -> None:
        """Gather all weights, after callbacks may have swapped them (`CodecEMA`)."""
        self._reshard()
        weights = list(self._full_weights()) if self._gathered_in.param_dtype is not None else []
        for part in self._sharded:
            part.unshard()
        for module, name, weight in weights:  # in place of those in bfloat16, until the parts are resharded
            setattr(module, name, nn.Parameter(weight, requires_grad=False))

    def _full_weights(self) -> Iterator[tuple[nn.Module, str, Tensor]]:
        """The gathered weights of the sharded parts as they are kept, in float32, each with its module and name."""
        assert self.lightning_module is not None
        for part in self.parts if self._sharded else ():
            for module in self.lightning_module.get_submodule(part).modules():
                for name, weight in module.named_parameters(recurse=False):
                    yield module, name, full_tensor(weight.detach())

    def on_validation_end(self) -> None:
        """Free the gathered weights."""
        self._reshard()

    on_test_start = on_predict_start = on_validation_start
    on_test_end = on_predict_end = on_validation_end

    def _reshard(self) -> None:
        for part in self._sharded:
            part.reshard()

    # -- checkpoints ---------------------------------------------------------------------------------------------

    def lightning_module_state_dict(self) -> dict[str, Any]:
        """The module's state as full tensors."""
        return {name: full_tensor(value) for name, value in super().lightning_module_state_dict().items()}

    def load_model_state_dict(self, checkpoint: Mapping[str, Any], strict: bool = True) -> None:
        """Load full tensors, each rank its shard."""
        assert self.lightning_module is not None
        own = self.lightning_module.state_dict()
        state = {k: shard_like(v, own[k]) if k in own else v for k, v in checkpoint["state_dict"].items()}
        super().load_model_state_dict({**checkpoint, "state_dict": state}, strict)

    def optimizer_state(self, optimizer: Optimizer) -> dict[str, Any]:
        """An optimizer's state as full tensors."""
        state: dict[str, Any] = super().optimizer_state(optimizer)
        states = {key: {n: _full_value(v) for n, v in values.items()} for key, values in state["state"].items()}
        return {**state, "state": states}

    def load_optimizer_state_dict(self, checkpoint: Mapping[str, Any]) -> None:
        """Load the optimizers' full states, each rank its shards."""
        states = []
        for optimizer, state in zip(self.optimizers, checkpoint["optimizer_states"], strict=True):
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            parts = {
                key: {name: _shard_value(value, parameters[key]) for name, value in values.items()}
                for key, values in state["state"].items()
            }
            states.append({**state, "state": parts})
        super().load_optimizer_state_dict({**checkpoint, "optimizer_states": states})


def _full_value(value: Any) -> Any:
    return full_tensor(value) if isinstance(value, Tensor) else value


def _shard_value(value: Any, parameter: Tensor) -> Any:
    """An optimizer's value of a parameter: its moments are sharded as the parameter is, step counts are not."""
    sharded = isinstance(parameter, DTensor) and isinstance(value, Tensor) and value.shape == parameter.shape
    return shard_like(value, parameter) if sharded else value


StrategyRegistry.register(
    "fsdp_alternating", AlternatingFSDPStrategy, description=AlternatingFSDPStrategy.__doc__ or ""
)
