"""The strategy `ddp_alternating`: data parallelism for several optimizers, without DDP's wrapper around the module."""

from datetime import timedelta

import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry
from torch.distributed.distributed_c10d import _get_default_store

from codec.errors import InvalidValue
from codec.training.distributed.rank_watch import RankWatch
from codec.training.lightning_internals import copy_weights_of_rank_0, kill_launched


class AlternatingDDPStrategy(DDPStrategy):
    """DDP whose gradients the module averages itself, optimizer by optimizer, right before each step.

    `DistributedDataParallel` reduces every parameter at every backward pass and fails, or searches the graph, when a
    GAN's pass reaches only one side. Here ranks start from rank 0's weights and `AlternatingOptimization.descend`
    averages what one optimizer owns; gradient accumulation then costs no needless all-reduce. When a rank fails, all
    others end too, and the error that came first is shown (`RankWatch`).

    Args:
        silence: seconds without a heartbeat after which a rank counts as lost.
        process_group_backend: `nccl` for GPUs and `gloo` for CPUs if None.
        timeout: longest time that a rank waits for the others in a collective.

    Raises:
        InvalidValue: `silence` is too short for a busy machine.
    """

    def __init__(
        self,
        silence: float = 60.0,
        *,
        process_group_backend: str | None = None,
        timeout: timedelta = timedelta(minutes=30),
    ) -> None:
        if silence < 5:
            remedy = "a busy rank may be silent for some seconds"
            raise InvalidValue("silence", f"{silence:g}", "must be at least 5 seconds", remedy)
        super().__init__(process_group_backend=process_group_backend, timeout=timeout)
        self.silence = silence
        self._watch: RankWatch | None = None
        self._runs, self._interrupted = 0, False

    def setup_environment(self) -> None:
        """Start the process group, and watch the other ranks from now on."""
        super().setup_environment()
        self._runs, self._interrupted = self._runs + 1, False
        if dist.get_world_size() == 1:
            return
        self._watch = RankWatch(
            _get_default_store().clone(),  # type: ignore[attr-defined]
            self.global_rank,
            ranks=dist.get_world_size(),
            run=self._runs,
            silence=self.silence,
            before_exit=self._kill_launched,
        )
        self._watch.start()

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


StrategyRegistry.register("ddp_alternating", AlternatingDDPStrategy, description=AlternatingDDPStrategy.__doc__ or "")
