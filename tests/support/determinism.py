"""Finds on a CPU what raises on CUDA under `torch.use_deterministic_algorithms`, as its documentation lists it."""

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

RAISES = {
    "avg_pool3d_backward", "_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward",
    "max_pool3d_with_indices_backward", "adaptive_max_pool2d_backward", "fractional_max_pool2d_backward",
    "fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d", "reflection_pad1d_backward",
    "reflection_pad2d_backward", "reflection_pad3d_backward", "upsample_linear1d_backward",
    "upsample_bilinear2d_backward", "upsample_bicubic2d_backward", "upsample_trilinear3d_backward",
    "upsample_nearest1d_backward", "upsample_nearest2d_backward", "upsample_nearest3d_backward", "nll_loss2d_forward",
    "_ctc_loss_backward", "_embedding_bag_dense_backward", "put_", "histc", "median", "nanmedian", "kthvalue",
    "grid_sampler_2d_backward", "grid_sampler_3d_backward", "scatter_reduce",
}  # fmt: skip
OF_FLOATS = {"cumsum", "cumprod"}
WITH_WEIGHTS = {"bincount"}


class Nondeterministic(TorchDispatchMode):
    """While active, notes in `found` each operation that would raise on CUDA under deterministic algorithms."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__
        raises = name in RAISES or (name in OF_FLOATS and args[0].is_floating_point())
        if raises or (name in WITH_WEIGHTS and (len(args) > 1 or "weights" in (kwargs or {}))):
            self.found.add(name)
        return func(*args, **(kwargs or {}))
