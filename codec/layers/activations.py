"""SnakeBeta and its anti-aliased form, between up- and down-sampling filters (BigVGAN, arXiv 2206.04658)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue

BLOCK = 32  # input samples that one block of the filters covers
CACHE_SIZE = 2**17  # float32 numbers that fit the cache of a CPU core


class SnakeBeta(nn.Module):
    """x + sin²(αx) / β with α and β learned per channel on a log scale (BigVGAN, section 3.2). Keeps `[B, C, T]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels, 1))
        self.log_beta = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return snake_beta(x, self.log_alpha.exp(), 1 / (self.log_beta.exp() + 1e-9))


def snake_beta(x: Tensor, alpha: Tensor, inverse_beta: Tensor) -> Tensor:
    """x + sin²(αx) / β for `[B, C, T]`, α and 1 / β `[C, 1]`."""
    return torch.addcmul(x, torch.sin(x * alpha).square(), inverse_beta)


def kaiser_lowpass(cutoff: float, half_width: float, taps: int) -> Tensor:
    """Impulse response `[taps]` of a Kaiser-windowed sinc low-pass with unit gain at 0 Hz.

    Args:
        cutoff: frequency in cycles per sample.
        half_width: of the transition band, in cycles per sample.
        taps: length in samples.
    """
    attenuation = 2.285 * (taps // 2 - 1) * torch.pi * 4 * half_width + 7.95
    beta = (
        0.1102 * (attenuation - 8.7)
        if attenuation > 50
        else 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    )
    window = torch.kaiser_window(taps, beta=beta, periodic=False)
    time = torch.arange(taps) - (taps - 1) / 2
    response = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return response / response.sum()


class AntiAliasedActivation(nn.Module):
    """SnakeBeta at twice the sample rate, between low-pass filters (BigVGAN, section 3.3). Keeps `[B, C, T]`.

    Depthwise convolutions are slow on a CPU. There, the filters are matrices applied to blocks of 32 samples, and a few
    channels at a time pass through all three steps while they are in the cache, which is about twice as fast. On other
    devices the filters are convolutions.

    Args:
        activation: applied at the doubled rate.
        taps: length of both filters in samples at the doubled rate, even and at least 6.

    Raises:
        InvalidValue: another number of taps.
    """

    lowpass: Tensor
    up_matrix: Tensor
    down_matrix: Tensor

    def __init__(self, activation: SnakeBeta, taps: int = 12) -> None:
        super().__init__()
        if taps % 2 or taps < 6:
            raise InvalidValue("taps", taps, "must be even and at least 6", "take 12")
        self.activation, self.taps = activation, taps
        lowpass = kaiser_lowpass(0.25, 0.3, taps)
        self.register_buffer("lowpass", lowpass.view(1, 1, taps), persistent=False)
        self.register_buffer("up_matrix", up_matrix(lowpass).contiguous(), persistent=False)
        self.register_buffer("down_matrix", down_matrix(lowpass), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        alpha, inverse_beta = self.activation.log_alpha.exp(), 1 / (self.activation.log_beta.exp() + 1e-9)
        if not x.is_cpu:
            return self._by_convolution(x, alpha, inverse_beta)
        step = max(1, CACHE_SIZE // x[:, 0].numel())
        groups = zip(x.split(step, 1), alpha.split(step), inverse_beta.split(step), strict=True)
        return torch.cat([self._by_blocks(*group) for group in groups], 1)

    def _by_blocks(self, x: Tensor, alpha: Tensor, inverse_beta: Tensor) -> Tensor:
        frames, reach, before = x.shape[-1], self.taps // 4, self.taps // 2 - 1
        fill = -frames % BLOCK
        blocks = repeat_ends(x, reach, reach + fill).unfold(-1, BLOCK + 2 * reach, BLOCK)
        x = multiply_blocks(blocks, self.up_matrix)[..., : 2 * frames]  # [B, C, 2T]
        x = repeat_ends(snake_beta(x, alpha, inverse_beta), before, before + 2 * fill)
        blocks = x.unfold(-1, 2 * BLOCK + self.taps - 2, 2 * BLOCK)
        return multiply_blocks(blocks, self.down_matrix)[..., :frames]

    def _by_convolution(self, x: Tensor, alpha: Tensor, inverse_beta: Tensor) -> Tensor:
        channels, pad = x.shape[1], self.taps // 2 - 1
        kernel = self.lowpass.to(x.dtype).expand(channels, 1, self.taps)
        x = F.pad(x, (pad, pad), mode="replicate")
        crop = pad * 2 + (self.taps - 2) // 2
        x = 2 * F.conv_transpose1d(x, kernel, stride=2, groups=channels)[..., crop : -crop or None]  # [B, C, 2T]
        x = snake_beta(x, alpha, inverse_beta)
        x = F.pad(x, (pad, pad + 1), mode="replicate")
        return F.conv1d(x, kernel, stride=2, groups=channels)  # [B, C, T]


def repeat_ends(x: Tensor, before: int, after: int) -> Tensor:
    """Pad `[B, C, T]` with copies of its first and last sample; faster than `F.pad` on a CPU."""
    return torch.cat((x[..., :1].expand(-1, -1, before), x, x[..., -1:].expand(-1, -1, after)), -1)


def multiply_blocks(blocks: Tensor, matrix: Tensor) -> Tensor:
    """Multiply blocks `[B, C, N, n]` by a matrix `[n, m]`, as one product: `[B, C, N · m]`."""
    product = blocks.reshape(-1, blocks.shape[-1]) @ matrix.to(blocks.dtype)
    return product.view(*blocks.shape[:2], -1)


def up_matrix(lowpass: Tensor) -> Tensor:
    """Up-sampling filter as a matrix from a block's inputs to its outputs: `[BLOCK + 2 · ⌊taps / 4⌋, 2 · BLOCK]`."""
    taps, reach = lowpass.numel(), lowpass.numel() // 4
    impulses = torch.eye(BLOCK + 2 * reach).unsqueeze(1)
    start = taps // 2 - 1 + 2 * reach
    return F.conv_transpose1d(impulses, 2 * lowpass.view(1, 1, -1), stride=2)[:, 0, start : start + 2 * BLOCK]


def down_matrix(lowpass: Tensor) -> Tensor:
    """Down-sampling filter as a matrix from a block's inputs to its outputs: `[2 · BLOCK + taps − 2, BLOCK]`."""
    impulses = torch.eye(2 * BLOCK + lowpass.numel() - 2).unsqueeze(1)
    return F.conv1d(impulses, lowpass.view(1, 1, -1), stride=2)[:, 0]


def snake(channels: int, *, anti_aliased: bool) -> nn.Module:
    """SnakeBeta for `[B, C, T]`, between up- and down-sampling filters if `anti_aliased`."""
    return AntiAliasedActivation(SnakeBeta(channels)) if anti_aliased else SnakeBeta(channels)
