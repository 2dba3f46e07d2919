"""Clarke's fading process: Gaussian complex gains whose autocorrelation is J0 (Clarke 1968; Jakes 1974)."""

import math

import torch
from torch import Tensor

CHUNK = 2**20  # complex numbers held at once, 16 MiB


def arrival_cosines(phase_span: float) -> Tensor:
    """Cosines of the angles from which waves arrive, float64 `[M]`, for a process that lasts x = 2π f_d T.

    The angles are π (k + ½) / M, k = 0 … M − 1. The mean of exp(j x' cos α) over them is J₀(x') by the trapezoid rule
    on the circle, of 2M nodes; its error is 2 Σᵢ (−1)^{i(M+1)} J_{2Mi}(x'). With 2M ≥ x + 15 (x/2)^{1/3} + 24 it is
    below 1e-15 for all |x'| ≤ x, before rounding, as a Bessel function of an order above its argument falls faster
    than exponentially.

    Args:
        phase_span: x, 0 or more.
    """
    count = math.ceil((phase_span + 15.0 * (phase_span / 2.0) ** (1.0 / 3.0) + 24.0) / 2.0)
    return torch.cos(math.pi * (torch.arange(count, dtype=torch.float64) + 0.5) / count)


def clarke_process(
    length: int, step_seconds: float, doppler_hz: float, generator: torch.Generator, *, processes: int = 1
) -> Tensor:
    """Draw independent Rayleigh fading processes, complex128 `[processes, length]`, of mean power 1.

    h(t) = Σₖ aₖ exp(j 2π f_d t cos αₖ) with independent complex Gaussian aₖ of power 1/M and the angles of
    `arrival_cosines`: waves from all sides alike, whose Doppler spectrum is Jakes'. It is Gaussian exactly, and
    E h(t + τ) h*(t) = J₀(2π f_d τ) to rounding, as far as it is drawn. At f_d = 0 each process is one gain; at f_d = ∞
    all gains are independent.

    Args:
        length: number of gains.
        step_seconds: time from one gain to the next.
        doppler_hz: f_d, maximum Doppler shift: speed · carrier frequency / speed of light.
        generator: source of all draws; their number depends on all other arguments.
        processes: how many to draw.
    """
    if doppler_hz == 0.0:
        return _complex_normal((processes, 1), generator).expand(-1, length)
    if math.isinf(doppler_hz):
        return _complex_normal((processes, length), generator)
    step = 2.0 * math.pi * doppler_hz * step_seconds
    cosines = arrival_cosines(step * max(length - 1, 0))
    amplitudes = _complex_normal((processes, len(cosines)), generator) / math.sqrt(len(cosines))
    # Gain number q·n + r is Σₖ (aₖ exp(j ωₖ q n)) exp(j ωₖ r): products of matrices, with 2 √length exponentials a wave
    # instead of `length`.
    inner = math.isqrt(length) + 1
    outer = -(-length // inner)
    gains = torch.zeros(processes, outer, inner, dtype=torch.complex128)
    waves = max(1, CHUNK // (outer * processes + inner))
    for part, amplitude in zip(cosines.split(waves), amplitudes.split(waves, 1), strict=True):
        coarse = _rotations(torch.arange(outer, dtype=torch.float64) * inner * step, part)  # [Q, M]
        fine = _rotations(torch.arange(inner, dtype=torch.float64) * step, part)  # [R, M]
        gains += (amplitude[:, None] * coarse) @ fine.T
    return gains.flatten(1)[:, :length]


def _rotations(phases: Tensor, cosines: Tensor) -> Tensor:
    """exp(j phase · cosine), complex128 `[len(phases), len(cosines)]`."""
    angles = phases[:, None] * cosines
    return torch.complex(angles.cos(), angles.sin())


def _complex_normal(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Independent complex Gaussian numbers of mean power 1, complex128."""
    parts = torch.randn(*shape, 2, generator=generator, dtype=torch.float64)
    return torch.view_as_complex(parts) * math.sqrt(0.5)
