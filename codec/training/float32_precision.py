"""Which precision devices multiply in: TF32 of a GPU, set in one place, and whether a CPU has bfloat16."""

import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class Float32Precision(Callback):
    """Training computes float32 in TF32 on CUDA GPUs that have it, evaluation in full float32.

    TF32 keeps the range of float32 and 10 bits of its mantissa (Ampere and later) and is about eight times as fast.
    PyTorch's own setting is neither: convolutions use it, matrix products do not. Validation, test and prediction
    do without, so that scores and codes do not depend on the GPU's age. What is computed under bf16 or fp16 autocast
    has fewer bits anyway; FFTs never use TF32. NVIDIA_TF32_OVERRIDE=0 in the environment turns TF32 off throughout.

    The training modules and comparisons bring this callback themselves (`configure_callbacks`). Other devices, and the
    settings after a run, stay as they are.
    """

    def __init__(self) -> None:
        self._before: tuple[str, bool] | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if trainer.strategy.root_device.type == "cuda" and self._before is None:
            self._before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._use(True)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._use(False)

    on_test_start = on_predict_start = on_validation_start

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._use(trainer.state.fn == "fit")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self._restore()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        self._restore()

    def _use(self, tf32: bool) -> None:
        if self._before is not None:
            set_float32_precision("high" if tf32 else "highest", convolutions=tf32)

    def _restore(self) -> None:
        if self._before is not None:
            set_float32_precision(self._before[0], convolutions=self._before[1])
            self._before = None


def set_float32_precision(products: str, *, convolutions: bool) -> None:
    """Precision of float32 on CUDA.

    Args:
        products: of matrix products: `highest` for float32, `high` for TF32 (`torch.set_float32_matmul_precision`).
        convolutions: whether cuDNN's convolutions use TF32.
    """
    torch.set_float32_matmul_precision(products)
    torch.backends.cudnn.allow_tf32 = convolutions


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device has instructions for products in bfloat16; a CPU without is several times slower in it."""
    abilities = torch.cpu.get_capabilities()
    names = "amx_bf16", "avx512_bf16", "avx_ne_convert", "bf16"  # the last of ARM
    return device.type != "cpu" or any(abilities.get(name) for name in names)
