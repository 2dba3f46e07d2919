"""The strategy `ddp_alternating`: data parallelism for several optimizers, without DDP's wrapper around the module."""

import atexit
import os
import sys
from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch.distributed.distributed_c10d import _get_default_store

from codec.errors import InvalidValue
from codec.layers.ranks import broadcast_object, make_waiting_group, wait_for_ranks
from codec.training.distributed.rank_watch import RankWatch
from codec.training.lightning_internals import choose_backend, copy_weights_of_rank_0, kill_launched

Item = TypeVar("Item")
GPU_BACKEND = "cpu:gloo,cuda:nccl"  # with gloo, objects and CPU tensors of any library need no GPU memory


class AlternatingDDPStrategy(DDPStrategy):
    """DDP whose gradients the module averages itself, optimizer by optimizer, in the pass that completes them.

    `DistributedDataParallel` reduces every parameter at every backward pass and fails, or searches the graph, when a
    GAN's pass reaches only one side. Here ranks start from rank 0's weights and `AlternatingOptimization.descend`
    averages what one optimizer owns (`overlapped_average`); gradient accumulation then costs no needless all-reduce.
    When a rank fails, all others end too, and the error that came first is shown (`RankWatch`).

    Objects, barriers and broadcasts go between CPUs (gloo), where a rank may wait for another one's scores much longer
    than for a gradient. Inductor compiles with the machine's cores divided by its ranks, unless
    TORCHINDUCTOR_COMPILE_THREADS is set.

    Args:
        silence: seconds without a heartbeat after which a rank counts as lost.
        process_group_backend: `cpu:gloo,cuda:nccl` for CUDA GPUs and PyTorch's default for other devices if None,
            which is `gloo` for CPUs.
        timeout: longest time that a rank waits for the others in a collective of tensors.
        patience: longest time that a rank waits for the others' objects and at barriers, for example while they score.

    Raises:
        InvalidValue: `silence` is too short for a busy machine.
    """

    def __init__(
        self,
        silence: float = 60.0,
        *,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
        patience: timedelta = timedelta(hours=24),
    ) -> None:
        if silence < 5:
            remedy = "a busy rank may be silent for some seconds"
            raise InvalidValue("silence", f"{silence:g}", "must be at least 5 seconds", remedy)
        super().__init__(process_group_backend=process_group_backend, timeout=timeout)
        self.silence, self.patience = silence, patience
        self._watch: RankWatch | None = None
        self._runs, self._interrupted = 0, False

    def setup_environment(self) -> None:
        """Start the process group, and watch the other ranks from now on."""
        if self.root_device.type == "cuda" and self.process_group_backend is None:
            choose_backend(self, GPU_BACKEND)
            atexit.register(_close_process_group)  # Lightning does this for a backend that is called "nccl" alone
        super().setup_environment()
        share_compile_threads(self.num_processes)
        self._runs, self._interrupted = self._runs + 1, False
        if dist.get_world_size() == 1:
            return
        make_waiting_group(self.patience)
        self._watch = RankWatch(
            _get_default_store().clone(),  # type: ignore[attr-defined]
            self.global_rank,
            ranks=dist.get_world_size(),
            run=self._runs,
            silence=self.silence,
            before_exit=self._kill_launched,
        )
        self._watch.start()

    def barrier(self, *args: Any, **kwargs: Any) -> None:
        """Wait for all ranks, at most `patience`."""
        wait_for_ranks()

    def broadcast(self, obj: Item, src: int = 0) -> Item:
        """The picklable object of rank `src` on every rank."""
        return broadcast_object(obj, source=src)

    def configure_ddp(self) -> None:
        """Give every rank the weights and buffers of rank 0; leave the module unwrapped."""
        assert self.lightning_module is not None
        copy_weights_of_rank_0(self.lightning_module)

    def on_exception(self, exception: BaseException) -> None:
        """Tell the other ranks; an error that another rank's error caused has that one's text appended."""
        super().on_exception(exception)
        self._interrupted = not isinstance(exception, SystemExit)  # which all ranks raise together
        if self._watch is None or not isinstance(exception, Exception):
            return
        first = self._watch.report(exception)
        if first is not None:
            exception.args = (f"{exception}\n\nThe job's first error: {first}",)

    def teardown(self) -> None:
        """Stop watching; after a run without an interruption, only when all ranks have got here."""
        if self._watch is not None:
            self._watch.leave(together=not self._interrupted)
        super().teardown()

    def _kill_launched(self) -> None:
        kill_launched(self.launcher)


def share_compile_threads(ranks: int) -> None:
    """Let each of a machine's `ranks` compile with its share of the cores: Inductor takes 32 for each process.

    A cluster that has given each rank cores of its own has shared them already.
    """
    if ranks == 1 or "TORCHINDUCTOR_COMPILE_THREADS" in os.environ:
        return
    threads = max(1, min(32, len(os.sched_getaffinity(0)), (os.cpu_count() or 1) // ranks))
    os.environ["TORCHINDUCTOR_COMPILE_THREADS"] = str(threads)
    config = sys.modules.get("torch._inductor.config")  # has read the variable already
    if config is not None:
        config.compile_threads = threads  # type: ignore[attr-defined]


def _close_process_group() -> None:
    """At exit, while the backends' threads run: left to their destructors, a rank is now and then aborted."""
    if dist.is_initialized():
        dist.destroy_process_group()


StrategyRegistry.register("ddp_alternating", AlternatingDDPStrategy, description=AlternatingDDPStrategy.__doc__ or "")
