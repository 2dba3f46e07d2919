"""How an acceptance run is made: device, scale and folders; blocks of configurations, full or shrunk for a CPU."""

import copy
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from codec import CodecModule
from tests.support.building import build

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SMALL_PERIOD = {"class_path": "codec.MultiPeriodDiscriminator", "init_args": {"periods": [2, 3], "channels": [4, 8]}}
SMALL_SPECTROGRAM = {
    "class_path": "codec.MultiResolutionSpectrogramDiscriminator",
    "init_args": {"n_ffts": [128, 256], "channels": 4},
}


@dataclass(frozen=True)
class Setting:
    """How the run is made.

    Args:
        device: what is tested; the reference is always the CPU.
        full: sizes for a GPU; otherwise the same calls on sizes that a CPU core does in seconds.
        folder: for temporary files.
        jobs: processes that compile in the background, by what they compile.
        threads: of this process, while there are no others.
    """

    device: torch.device
    full: bool
    folder: Path
    jobs: "dict[str, subprocess.Popen[bytes]]" = field(default_factory=dict)
    threads: int = field(default_factory=torch.get_num_threads)

    @property
    def accelerator(self) -> str:
        """The Trainer's name of the device."""
        return "gpu" if self.device.type == "cuda" else self.device.type

    @property
    def backend(self) -> str:
        """What `torch.compile` compiles with: its default on a GPU, tracing alone on a CPU."""
        return "inductor" if self.device.type == "cuda" else "eager"

    def pick(self, full: Any, small: Any) -> Any:
        """One of two sizes, by scale."""
        return full if self.full else small


def model_block(*names: str) -> dict[str, Any]:
    """The `model` block of configurations laid over each other, without what a hub would have to send."""
    merged: dict[str, Any] = {}
    for name in names:
        merged = overlay(merged, yaml.safe_load((CONFIGS / f"{name}.yaml").read_text(encoding="utf-8"))["model"])
    return merged


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: nested blocks are merged, one with a class of its own replaces another."""
    merged = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = overlay(merged[key], value) if both and "class_path" not in value else copy.deepcopy(value)
    return merged


def adversarial(block: dict[str, Any], setting: Setting, *, compiled: bool = False) -> dict[str, Any]:
    """The block with its discriminators from the first batch on; in a small run these are tiny."""
    changes: dict[str, Any] = {"adversary": {"start": 0}, "compiled": compiled}
    if not setting.full:
        changes["adversary"] |= {"discriminators": [SMALL_PERIOD, SMALL_SPECTROGRAM], "crop": 4800}
    return overlay(block, {"init_args": changes})


def build_module(block: dict[str, Any], *, seed: int = 0) -> CodecModule:
    """A module on the CPU, its initial weights a function of the seed."""
    torch.manual_seed(seed)
    return build(block, CodecModule)


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, float32 matrix products and convolutions are not rounded to TF32."""
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution


@contextmanager
def compiling_with(backend: str) -> Iterator[None]:
    """Inside, modules and methods are compiled with this backend; compiled code of before is forgotten."""
    original = torch.compile

    def compile(*arguments: Any, **options: Any) -> Any:
        return original(*arguments, **{**options, "backend": backend})

    torch._dynamo.reset()
    torch.compile = compile
    try:
        yield
    finally:
        torch.compile = original
