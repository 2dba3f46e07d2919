"""Anti-aliased SnakeBeta (BigVGAN, arXiv 2206.04658, section 3.3) as one operator that keeps only its inputs.

y = up(x), s = y + sin²(αy) / β, z = down(s): `up` doubles the sample rate, `down` halves it, with one low-pass filter
and with each signal's ends repeated. The operator `codec::anti_aliased_snake` runs as one Triton kernel on CUDA
(`codec.layers.anti_aliased_triton`) and in blocks that stay in the cache on a CPU. `torch.compile` takes it as one
operator; under autocast it keeps its input's type and computes in float32.
"""

from functools import lru_cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor

BLOCK = 16  # samples of the lower rate that one block of the filters covers
CACHE_SIZE = 2**17  # numbers that fit the cache of a CPU core
HAS_TRITON = find_spec("triton") is not None  # PyTorch's builds for CUDA on Linux bring it along
TRITON_TAPS = 12
TRITON_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def anti_aliased_snake(x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> Tensor:
    """SnakeBeta of `[B, C, T]` at twice its sample rate; the output has the input's type.

    Args:
        x: any floating-point type, on any device, T at least 1.
        alpha: α, `[C, 1]`.
        inverse_beta: 1 / β, `[C, 1]`.
        lowpass: the filter at the doubled rate, an even number of taps, at least 6; no gradient reaches it.
    """
    if x.is_cpu or (x.is_cuda and lowpass.numel() == TRITON_TAPS and x.dtype in TRITON_TYPES and HAS_TRITON):
        return torch.ops.codec.anti_aliased_snake(x, alpha, inverse_beta, lowpass)
    return by_convolution(x, alpha, inverse_beta, lowpass)


def by_convolution(x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> Tensor:
    """The same, in PyTorch's own operators: for other devices, exports, and as the reference of the tests."""
    channels, taps, dtype = x.shape[1], lowpass.numel(), x.dtype
    pad = taps // 2 - 1
    alpha, inverse_beta, kernel = alpha.to(dtype), inverse_beta.to(dtype), lowpass.to(dtype).expand(channels, 1, taps)
    x = F.pad(x, (pad, pad), mode="replicate")
    x = 2 * F.conv_transpose1d(x, kernel, stride=2, groups=channels)[..., 3 * pad : -3 * pad]  # [B, C, 2T]
    x = torch.addcmul(x, torch.sin(x * alpha).square(), inverse_beta)
    x = F.pad(x, (pad, pad + 1), mode="replicate")
    return F.conv1d(x, kernel, stride=2, groups=channels)  # [B, C, T]


# -- the operator ------------------------------------------------------------------------------------------------------


@torch.library.custom_op("codec::anti_aliased_snake", mutates_args=(), device_types="cpu")
def _forward(x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> Tensor:
    z = torch.empty_like(x, memory_format=torch.contiguous_format)
    up, down = _matrices(tuple(lowpass.tolist()), lowpass.dtype)
    alphas, inverse_betas = _by_row(alpha, x), _by_row(inverse_beta, x)
    for rows in _groups(x):
        a, b = alphas[rows], inverse_betas[rows]
        y = _up(x.flatten(0, 1)[rows].to(up.dtype), up, ends=True)
        y.addcmul_(torch.sin(y * a).square_(), b)
        z.flatten(0, 1)[rows] = _down(y, down, ends=True)
    return z


@torch.library.custom_op("codec::anti_aliased_snake_backward", mutates_args=(), device_types="cpu")
def _backward(
    gz: Tensor, x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    gx = torch.empty_like(x, memory_format=torch.contiguous_format)
    up, down = _matrices(tuple(lowpass.tolist()), lowpass.dtype)
    alphas, inverse_betas = _by_row(alpha, x), _by_row(inverse_beta, x)
    sums = torch.empty(2, x.shape[0] * x.shape[1], dtype=up.dtype)
    for rows in _groups(x):
        a, b = alphas[rows], inverse_betas[rows]
        gs = _up(gz.flatten(0, 1)[rows].to(up.dtype), up, ends=False)  # twice the gradient of s
        y = _up(x.flatten(0, 1)[rows].to(up.dtype), up, ends=True)
        angle = y * a
        sums[1, rows] = torch.sin(angle).square_().mul_(gs).sum(1)
        slope = torch.sin(angle.mul_(2)).mul_(gs)  # sin(2αy) times the gradient of s
        sums[0, rows] = y.mul_(slope).sum(1)
        gx.flatten(0, 1)[rows] = _down(gs.addcmul_(slope, a * b), down, ends=False)
    by_alpha, by_inverse_beta = sums.view(2, *x.shape[:2]).sum(1).unsqueeze(2) / 2
    return gx, (by_alpha * inverse_beta).to(alpha.dtype), by_inverse_beta.to(inverse_beta.dtype)


@_forward.register_kernel("cuda")
def _(x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> Tensor:
    from codec.layers import anti_aliased_triton

    return anti_aliased_triton.forward(*(t.contiguous() for t in (x, alpha, inverse_beta, lowpass)))


@_backward.register_kernel("cuda")
def _(gz: Tensor, x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    from codec.layers import anti_aliased_triton

    inputs = (t.contiguous() for t in (gz, x, alpha, inverse_beta, lowpass))
    gx, by_alpha, by_inverse_beta = anti_aliased_triton.backward(*inputs)
    return gx, by_alpha.to(alpha.dtype), by_inverse_beta.to(inverse_beta.dtype)


@_forward.register_fake
def _(x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_backward.register_fake
def _(gz: Tensor, x: Tensor, alpha: Tensor, inverse_beta: Tensor, lowpass: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    contiguous = torch.contiguous_format
    return torch.empty_like(x, memory_format=contiguous), torch.empty_like(alpha), torch.empty_like(inverse_beta)


def _keep_inputs(ctx: torch.autograd.function.FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _gradients(ctx: torch.autograd.function.FunctionCtx, gz: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
    gradients = torch.ops.codec.anti_aliased_snake_backward(gz, *ctx.saved_tensors)  # type: ignore[attr-defined]
    return *gradients, None


_forward.register_autograd(_gradients, setup_context=_keep_inputs)


# -- on a CPU ----------------------------------------------------------------------------------------------------------


def up_matrix(lowpass: Tensor) -> Tensor:
    """Up-sampling filter as a matrix from a block's inputs to its outputs: `[BLOCK + 2 · ⌊taps / 4⌋, 2 · BLOCK]`."""
    taps, reach = lowpass.numel(), lowpass.numel() // 4
    tap = torch.arange(2 * BLOCK) + taps // 2 - 1 - 2 * (torch.arange(BLOCK + 2 * reach)[:, None] - reach)
    return 2 * _select(lowpass, tap)


def down_matrix(lowpass: Tensor) -> Tensor:
    """Down-sampling filter as a matrix from a block's inputs to its outputs: `[2 · BLOCK + taps − 2, BLOCK]`."""
    return _select(lowpass, torch.arange(2 * BLOCK + lowpass.numel() - 2)[:, None] - 2 * torch.arange(BLOCK))


@lru_cache(maxsize=8)
def _matrices(taps: tuple[float, ...], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Both matrices of a filter, made once: all activations of a codec share its taps."""
    lowpass = torch.tensor(taps, dtype=dtype)
    return up_matrix(lowpass), down_matrix(lowpass)


def _select(lowpass: Tensor, tap: Tensor) -> Tensor:
    """Taps of the filter by number, zero where there is none, at least in float32."""
    taps = lowpass.flatten().to(torch.promote_types(lowpass.dtype, torch.float32))
    return torch.where((tap >= 0) & (tap < taps.numel()), taps[tap.clamp(0, taps.numel() - 1)], 0.0)


def _groups(x: Tensor) -> list[slice]:
    """The rows of `[B · C, T]` in groups that fit the cache."""
    rows, step = x.shape[0] * x.shape[1], max(1, CACHE_SIZE // x.shape[2])
    return [slice(start, start + step) for start in range(0, rows, step)]


def _by_row(factor: Tensor, x: Tensor) -> Tensor:
    """A factor of each channel `[C, 1]` for each row of `[B · C, T]`."""
    return factor.expand(x.shape[0], *factor.shape).reshape(-1, 1)


def _up(x: Tensor, matrix: Tensor, *, ends: bool) -> Tensor:
    """Double the rate of `[R, T]`, with `ends` repeated; without, twice the adjoint of `_down` with repeated ends.

    The adjoint of repeating the ends adds what falls outside the signal to its first and last sample.
    """
    reach, frames = (matrix.shape[0] - BLOCK) // 2, x.shape[1]
    outside = 0 if ends else reach + 1
    blocks = -(-(frames + 2 * outside) // BLOCK)
    padded = _pad(x, reach + outside, blocks * BLOCK + 2 * reach, ends=ends)
    y = _multiply(padded.unfold(1, matrix.shape[0], BLOCK), matrix)[:, : 2 * (frames + 2 * outside)]
    return y if ends else _fold_ends(y, 2 * outside)


def _down(y: Tensor, matrix: Tensor, *, ends: bool) -> Tensor:
    """Halve the rate of `[R, 2T]`; with `ends` repeated, or else half the adjoint of `_up` with repeated ends."""
    taps, frames = matrix.shape[0] - 2 * BLOCK + 2, y.shape[1] // 2
    outside = 0 if ends else taps // 4 + 1
    blocks = -(-(frames + 2 * outside) // BLOCK)
    padded = _pad(y, taps // 2 - 1 + 2 * outside, 2 * BLOCK * blocks + taps - 2, ends=ends)
    x = _multiply(padded.unfold(1, matrix.shape[0], 2 * BLOCK), matrix)[:, : frames + 2 * outside]
    return x if ends else _fold_ends(x, outside)


def _pad(x: Tensor, before: int, length: int, *, ends: bool) -> Tensor:
    """`[R, T]` inside rows of `length`, from sample `before` on; around it its own ends, or zeros."""
    padded = x.new_empty(x.shape[0], length)
    padded[:, before : before + x.shape[1]] = x
    padded[:, :before] = x[:, :1] if ends else 0.0
    padded[:, before + x.shape[1] :] = x[:, -1:] if ends else 0.0
    return padded


def _multiply(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Multiply blocks `[R, N, n]` by a matrix `[n, m]`, as one product: `[R, N · m]`."""
    return (blocks.reshape(-1, blocks.shape[-1]) @ matrix).view(blocks.shape[0], -1)


def _fold_ends(x: Tensor, outside: int) -> Tensor:
    """Cut `outside` samples off both ends of `[R, T]` and add them to the first and last that remain."""
    inner = x[:, outside:-outside].contiguous()
    inner[:, 0] += x[:, :outside].sum(1)
    inner[:, -1] += x[:, -outside:].sum(1)
    return inner
