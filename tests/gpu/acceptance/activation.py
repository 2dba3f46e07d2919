"""The anti-aliased SnakeBeta against float64 on the CPU, and the time of each of its implementations."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.layers.activations import AntiAliasedActivation, SnakeBeta
from tests.gpu.acceptance.parity import relative_error
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting, full_float32
from tests.gpu.acceptance.timing import median_seconds

Apply = Callable[[AntiAliasedActivation, Tensor], Tensor]


def by_convolution(module: AntiAliasedActivation, x: Tensor) -> Tensor:
    """The definition in convolutions: pad, up-sample by 2, snake, pad, down-sample by 2. `[B, C, T]` stays."""
    taps, channels = module.taps, x.shape[1]
    kernel = module.lowpass.to(x.dtype).view(1, 1, -1).expand(channels, 1, taps)
    reach, inner = taps // 2 - 1, taps // 4
    padded = F.pad(x, (inner + 1, inner + 1), mode="replicate")
    up = 2 * F.conv_transpose1d(padded, kernel, stride=2, groups=channels)
    first = 2 * (inner + 1) + reach
    up = up[..., first : first + 2 * x.shape[-1]]  # [B, C, 2T]
    alpha, beta = module.activation.log_alpha.exp(), module.activation.log_beta.exp() + 1e-9
    up = up + torch.sin(alpha * up).square() / beta
    return F.conv1d(F.pad(up, (reach, reach + 1), mode="replicate"), kernel, stride=2, groups=channels)  # [B, C, T]


def own(module: AntiAliasedActivation, x: Tensor) -> Tensor:
    """What the module does."""
    return module(x)


# What is timed, by name. "compiled" goes through torch.compile with the setting's backend.
IMPLEMENTATIONS: dict[str, tuple[Apply, bool]] = {
    "module, eager": (own, False),
    "module, compiled": (own, True),
    "convolutions, eager": (by_convolution, False),
    "convolutions, compiled": (by_convolution, True),
}


def make(channels: int, device: torch.device, dtype: torch.dtype) -> AntiAliasedActivation:
    """An activation whose parameters differ between channels."""
    torch.manual_seed(3)
    module = AntiAliasedActivation(SnakeBeta(channels))
    with torch.no_grad():
        module.activation.log_alpha.uniform_(-0.5, 1.0)
        module.activation.log_beta.uniform_(-0.5, 1.0)
    return module.to(device=device, dtype=dtype)


def results(apply: Apply, module: AntiAliasedActivation, x: Tensor, upstream: Tensor) -> dict[str, Tensor]:
    """Output, and the gradients of its product with `upstream`."""
    x = x.detach().clone().requires_grad_()
    y = apply(module, x)
    y.backward(upstream.to(y.dtype))
    assert x.grad is not None
    named = {"output": y, "gradient of x": x.grad}
    return named | {f"gradient of {name}": p.grad for name, p in module.named_parameters() if p.grad is not None}


def compare(setting: Setting, report: Report) -> None:
    """Module against definition, odd and short lengths included, in float32 and bfloat16."""
    for frames in setting.pick((1, 5, 37, 4001), (1, 37)):
        x, upstream = torch.randn(2, 2, 6, frames, dtype=torch.float64).unbind()
        expected = results(by_convolution, make(6, torch.device("cpu"), torch.float64), x, upstream)
        for dtype, limit in ((torch.float32, 1e-5), (torch.bfloat16, 2e-2)):
            cpu_module = make(6, setting.device, torch.float32)
            moved = x.to(setting.device, dtype), upstream.to(setting.device, dtype)
            with torch.autocast(setting.device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
                found = results(own, cpu_module, *moved)
            for name, value in found.items():
                label = f"{name}, {frames} samples, {str(dtype).removeprefix('torch.')}, relative error"
                report.at_most(label, relative_error(value, expected[name]), limit)


def measure(setting: Setting, report: Report) -> None:
    """Time and bandwidth of forward and backward: 5 tensors read or written at least (x; y; x, dy; dx)."""
    shape = setting.pick((16, 96, 32_000), (1, 4, 640))
    dtype = setting.pick(torch.bfloat16, torch.float32)
    for name, (apply, compiled) in IMPLEMENTATIONS.items():
        module = make(shape[1], setting.device, torch.float32)
        x = torch.randn(shape, device=setting.device).to(dtype).requires_grad_()
        upstream = torch.randn(shape, device=setting.device).to(dtype)
        call: Any = torch.compile(apply, backend=setting.backend) if compiled else apply
        with torch.autocast(setting.device.type, torch.bfloat16, enabled=setting.full):
            forward = median_seconds(lambda c=call, m=module, x=x: c(m, x), setting.device, repeats=10)

            def both(c: Any = call, m: Any = module, x: Tensor = x, upstream: Tensor = upstream) -> None:
                y = c(m, x)
                y.backward(upstream.to(y.dtype))

            total = median_seconds(both, setting.device, repeats=10)
        moved = 5 * x.numel() * x.element_size()
        report.value(f"{name}: forward, ms", 1e3 * forward)
        report.value(f"{name}: forward and backward, ms", 1e3 * total)
        report.value(f"{name}: GB/s of the 5 tensors that must move", moved / total / 1e9)


def run(setting: Setting, report: Report) -> None:
    """Correctness first, then times."""
    with full_float32():
        compare(setting, report)
    measure(setting, report)
