"""The strategy `ddp_alternating`: data parallelism for several optimizers, without DDP's wrapper around the module."""

from lightning.pytorch.overrides.distributed import _sync_module_states
from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry


class AlternatingDDPStrategy(DDPStrategy):
    """DDP whose gradients the module averages itself, optimizer by optimizer, right before each step.

    `DistributedDataParallel` reduces every parameter at every backward pass and fails, or searches the graph, when a
    GAN's pass reaches only one side. Here ranks start from rank 0's weights and `AlternatingOptimization.descend`
    averages what one optimizer owns; gradient accumulation then costs no needless all-reduce.
    """

    def configure_ddp(self) -> None:
        """Give every rank the weights and buffers of rank 0; leave the module unwrapped."""
        assert self.lightning_module is not None
        _sync_module_states(self.lightning_module)


StrategyRegistry.register("ddp_alternating", AlternatingDDPStrategy, description=AlternatingDDPStrategy.__doc__ or "")
