"""Under autocast, transforms, logarithms, norms and distances are computed in float32."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from codec import ResidualFSQ, StudentEncoder
from tests.integration.test_hot_path import KINDS, rvq
from tests.support.distilling import save_teacher, student_of
from tests.support.operators import DuringTraining
from tests.support.synchronisations import tensors
from tests.support.training import VoiceData, quiet_trainer, tiny_module

FLOAT32 = {
    "_fft_r2c", "_fft_c2r", "_fft_c2c", "log", "log10", "log2", "log1p", "exp", "sqrt", "rsqrt", "tanh", "atanh", "var",
    "linalg_vector_norm", "_cdist_forward", "argmin", "argmax", "mse_loss", "round", "cumsum", "pow",
}  # fmt: skip
HALF = (torch.bfloat16, torch.float16)


class HalfPrecision(TorchDispatchMode):
    """Notes which of the operations got a tensor in half precision."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = func.overloadpacket.__name__.removesuffix("_") or func.overloadpacket.__name__
        if name in FLOAT32 and any(value.dtype in HALF for value in tensors(args)):
            self.found.add(name)
        return func(*args, **(kwargs or {}))


def residual():
    module = tiny_module()
    module.codec.quantizer = ResidualFSQ(16, (4, 4), dropout=0.5)
    return module


def student(folder):
    module = student_of(save_teacher(folder / "teacher.ckpt"))
    small = dict(widths=(4, 4), strides=(4,), depths=(1, 1), attention_stride=40, attention_depth=1, heads=1)
    module.codec.encoder = StudentEncoder(16, window=4, causal=True, **small)
    return module


@pytest.mark.parametrize("kind", [*KINDS, "residual", "student"])
def test_a_step_in_bfloat16_keeps_delicate_operations_in_float32(kind, tmp_path):
    module = student(tmp_path) if kind == "student" else (KINDS | {"residual": residual})[kind]()
    watch = DuringTraining(HalfPrecision())
    quiet_trainer(max_steps=2, precision="bf16-mixed", callbacks=[watch]).fit(module, VoiceData())
    assert not watch.mode.found
    assert module.skipped_steps == 0 and all(p.isfinite().all() for p in module.parameters())


def test_half_precision_is_noticed():
    with HalfPrecision() as mode:
        torch.ones(3).log()
        torch.ones(3, dtype=torch.bfloat16).sqrt()
    assert mode.found == {"sqrt"}


@pytest.mark.parametrize("make", [tiny_module, rvq, residual])
@pytest.mark.parametrize("dtype", HALF)
def test_quantizers_give_the_codes_of_float32(make, dtype):
    quantizer = make().codec.quantizer.eval()
    latents = torch.randn(2, 16, 30)
    expected = quantizer(latents)
    with torch.autocast("cpu", dtype=dtype):
        found = quantizer(latents)
        assert torch.equal(found.codes, expected.codes) and torch.equal(found.latents, expected.latents)
        assert torch.equal(quantizer.decode(found.codes), quantizer.decode(expected.codes))
