"""Whether a training step fits the GPU: a step on tensors without memory (`FakeTensorMode`) is summed up.

The estimate covers weights, gradients, optimizer states, averaged weights and activations of an eager step. It does not
cover CUDA's context (about 0.5 GB), cuDNN's workspaces, fragments and what NCCL takes.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import gc
import sys
import weakref
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from callbacks.training.ema import trained_weights
from callbacks.training.preflight_space import OPTIMIZER_STATES, Finding
from codec.errors import first_line
from codec.training.alternating import WeightAverage

WORKSPACES = 2 * 2**25  # bytes that cuBLAS and cuBLASLt take on recent cards
BLOCK = 512  # bytes; the caching allocator rounds up to it
SURE = 1.1  # an estimate that exceeds the card by this factor ends the run
TIGHT = 0.95  # above this share of the card a step may run out of memory
LATE = 10**9  # number of a batch at which all parts of an endless training have joined


def device_memory(trainer: Any, module: Any) -> Iterator[Finding]:
    """A step, with all parts that join later, must fit the card of rank 0."""
    device = trainer.strategy.root_device
    if device.type != "cuda" or not hasattr(trainer.datamodule, "crop_samples"):
        return
    try:
        needed = step_bytes(trainer, module)
    except Exception as error:  # operations without a fake form raise many kinds
        reason = f"{type(error).__name__}: {first_line(error, limit=200)}"
        yield Finding(f"The memory of a training step cannot be estimated ({reason}).", fatal=False)
        return
    at_most = bool(getattr(module, "compiled", False)) or trainer.world_size > 1
    yield from compare(needed, torch.cuda.get_device_properties(device).total_memory, trainer, at_most=at_most)


def compare(needed: int, there: int, trainer: Any, *, at_most: bool) -> Iterator[Finding]:
    """The finding for a step of `needed` bytes on a card of `there`.

    Args:
        at_most: the estimate is an upper bound, as of compiled or sharded modules, and never ends the run.
    """
    if needed <= TIGHT * there:
        return
    size = trainer.datamodule.batch_size
    smaller = f"data.batch_size {size // 2} with twice the model.init_args.optimization.accumulate, or " * (size > 1)
    yield Finding(
        f"A training step needs {'up to' if at_most else 'about'} {needed / 1e9:.1f} GB and the GPU has "
        f"{there / 1e9:.1f} GB: set {smaller}checkpointing true in encoder and backbone.",
        fatal=needed > SURE * there and not at_most,
    )


def step_bytes(trainer: Any, module: Any) -> int:
    """Peak of allocated bytes in one eager training step, with optimizer states and averaged weights.

    The step runs on a copy of the module on tensors without memory. It leaves module, trainer and random state as they
    are.
    """
    device = torch.device("cuda", trainer.strategy.root_device.index or 0)
    tracker = LiveBytes()
    with torch.random.fork_rng(devices=()), FakeTensorMode(allow_non_fake_inputs=True), tracker:
        try:
            clone = fake_copy(trainer, module, device)
            optimizers = detach_from_trainer(clone)
            batch = fake_batch(trainer.datamodule, device)
            if clone.accumulate > 1:
                keep_gradients(optimizers)
            with trainer.precision_plugin.train_step_context():
                clone.training_step(batch, 0)
        finally:
            forget_caches()
    return tracker.peak + kept_bytes(trainer, module) + WORKSPACES


def kept_bytes(trainer: Any, module: Any) -> int:
    """Bytes of optimizer states, and of the average of what the codec trains, where a callback keeps one."""
    states = OPTIMIZER_STATES * sum(p.nbytes for p in module.parameters() if p.requires_grad)
    averaged = any(isinstance(callback, WeightAverage) for callback in trainer.callbacks)
    if not averaged:
        return states
    return states + sum(t.nbytes for t in trained_weights(module).values() if t.is_floating_point())


class LiveBytes(TorchDispatchMode):
    """Sums up the storages of CUDA tensors that are alive.

    Numbers that are read from a tensor are one, so that what depends on finite gradients happens.

    Attributes:
        now: bytes alive.
        peak: the most there were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return _one(args[0].dtype)
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and tensor.device.type == "cuda":
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._alive:
            return
        size = -(-storage.nbytes() // BLOCK) * BLOCK
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def _one(dtype: torch.dtype) -> bool | float | int:
    """The number one as `item()` of a tensor gives it."""
    if dtype is torch.bool:
        return True
    return 1.0 if dtype.is_floating_point else 1


def fake_copy(trainer: Any, module: Any, device: torch.device) -> Any:
    """A copy of the module whose tensors are on `device` and have no memory; inside a `FakeTensorMode`."""
    last = (trainer.max_steps if trainer.max_steps > 0 else LATE) // module.accumulate * module.accumulate - 1
    stub = SimpleNamespace(
        global_step=max(0, last), global_rank=0, world_size=1, training=True, callbacks=[], sanity_checking=False,
        strategy=SimpleNamespace(model=None), precision_plugin=SimpleNamespace(scaler=None),
        is_global_zero=True, max_steps=trainer.max_steps,
    )  # fmt: skip
    known: dict[int, Any] = {}
    for tensor in tensors_of(module, set()):
        fake: Tensor = torch.empty_strided(tensor.size(), tensor.stride(), dtype=tensor.dtype, device=device)
        known[id(tensor)] = nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake
    on_cpu = (getattr(module, name, None) for name in ("channel", "link", "_transmit"))  # where bits are sent
    known |= {id(part): None for part in on_cpu if part is not None}
    clone = copy.deepcopy(module, known)  # leaves the trainer out
    clone.trainer = stub
    return clone


def tensors_of(value: Any, seen: set[int]) -> Iterator[Tensor]:
    """All tensors that a module holds, registered or not."""
    if id(value) in seen:
        return
    seen.add(id(value))
    inner: list[Any] = []
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict):
        inner = list(value.values())
    elif isinstance(value, (list, tuple)):
        inner = list(value)
    elif isinstance(value, nn.Module) or dataclasses.is_dataclass(value):
        inner = list(vars(value).values())
    for item in inner:
        yield from tensors_of(item, seen)


class DetachedOptimizer:
    """An optimizer in the place of Lightning's wrapper, which needs a trainer. Its step only measures and clips.

    Args:
        optimizer: steps the module's parameters.
        module: whose `on_before_optimizer_step` comes first.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, module: Any) -> None:
        self.optimizer, self.module = optimizer, module
        self.param_groups = optimizer.param_groups

    def step(self, *_: Any, **__: Any) -> None:
        self.module.on_before_optimizer_step(self.optimizer)

    def zero_grad(self, set_to_none: bool = True) -> None:
        self.optimizer.zero_grad(set_to_none)


def detach_from_trainer(clone: Any) -> list[DetachedOptimizer]:
    """Replace, in a copy of the module, what only a trainer can do; the optimizers of its parameters."""
    made = clone.configure_optimizers()
    optimizers = [DetachedOptimizer(optimizer, clone) for optimizer in (made if isinstance(made, list) else [made])]
    clone.optimizers = lambda *_, **__: optimizers
    clone.manual_backward = lambda loss, **options: loss.backward(**options)
    for name in ("begin_batch", "end_batch", "log", "log_dict", "_log_training"):
        setattr(clone, name, lambda *_, **__: None)
    return optimizers


def keep_gradients(optimizers: list[DetachedOptimizer]) -> None:
    """Give all parameters gradients, as inside an accumulation."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = torch.zeros_like(parameter)


def fake_batch(data: Any, device: torch.device) -> dict[str, Tensor]:
    """A training batch of the data module without memory."""
    rates = data.audio_format.rates
    lengths = dict(zip(("audio", "target"), (data.crop_samples * rate // rates[0] for rate in rates), strict=False))
    return {name: torch.empty(data.batch_size, 1, length, device=device) for name, length in lengths.items()}


def forget_caches() -> None:
    """Empty the caches of this package's functions: they may hold tensors without memory now."""
    for name, imported in list(sys.modules.items()):
        if name.partition(".")[0] in ("codec", "callbacks"):
            for function in list(vars(imported).values()):
                if isinstance(function, functools._lru_cache_wrapper):
                    function.cache_clear()
    gc.collect()
