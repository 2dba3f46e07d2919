"""Building blocks of encoders and decoders: SnakeBeta, anti-aliased activation, residual units, attention.

Sources: BigVGAN (arXiv 2206.04658), BigCodec (arXiv 2409.05377), ConvNeXt (arXiv 2201.03545), RoPE (arXiv 2104.09864).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


def normed_conv(in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1) -> nn.Module:
    """Weight-normed Conv1d whose padding turns `[B, C, F * stride]` into `[B, C', F]` exactly."""
    padding = (dilation * (kernel - 1) + 1 - stride + 1) // 2
    return weight_norm(nn.Conv1d(in_channels, out_channels, kernel, stride, padding, dilation))


class SnakeBeta(nn.Module):
    """x + sin²(αx) / β with α and β learned per channel on a log scale (BigVGAN, section 3.2). Keeps `[B, C, T]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels, 1))
        self.log_beta = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.sin(x * self.log_alpha.exp()).square() / (self.log_beta.exp() + 1e-9)


def kaiser_lowpass(cutoff: float, half_width: float, taps: int) -> Tensor:
    """Kaiser-windowed sinc low-pass `[taps]` with unit gain at 0 Hz; frequencies in cycles per sample."""
    attenuation = 2.285 * (taps // 2 - 1) * torch.pi * 4 * half_width + 7.95
    beta = (
        0.1102 * (attenuation - 8.7)
        if attenuation > 50
        else 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    )
    window = torch.kaiser_window(taps, beta=beta, periodic=False)
    time = torch.arange(taps) - (taps - 1) / 2
    taps_ = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return taps_ / taps_.sum()


class AntiAliasedActivation(nn.Module):
    """Run a pointwise activation at twice the rate, between low-pass filters (BigVGAN, 3.3). Keeps `[B, C, T]`."""

    lowpass: Tensor

    def __init__(self, activation: nn.Module, taps: int = 12) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("lowpass", kaiser_lowpass(0.25, 0.3, taps).view(1, 1, taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        channels, taps = x.shape[1], self.lowpass.shape[-1]
        kernel = self.lowpass.to(x.dtype).expand(channels, 1, taps)
        pad = taps // 2 - 1
        x = F.pad(x, (pad, pad), mode="replicate")
        crop = pad * 2 + (taps - 2) // 2
        x = 2 * F.conv_transpose1d(x, kernel, stride=2, groups=channels)[..., crop : -crop or None]  # [B, C, 2T]
        x = self.activation(x)
        x = F.pad(x, (taps // 2 - 1, taps // 2), mode="replicate")
        return F.conv1d(x, kernel, stride=2, groups=channels)  # [B, C, T]


def snake(channels: int, *, anti_aliased: bool) -> nn.Module:
    """SnakeBeta, between up- and down-sampling filters where `anti_aliased`."""
    return AntiAliasedActivation(SnakeBeta(channels)) if anti_aliased else SnakeBeta(channels)


class ResidualUnit(nn.Module):
    """x + conv1(act(conv7 dilated(act(x)))), BigCodec's unit. `[B, C, T]` to the same."""

    def __init__(self, channels: int, dilation: int, *, anti_aliased: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            snake(channels, anti_aliased=anti_aliased),
            normed_conv(channels, channels, 7, dilation=dilation),
            snake(channels, anti_aliased=anti_aliased),
            normed_conv(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class ConvNeXtBlock(nn.Module):
    """Depthwise conv7, LayerNorm, pointwise MLP, learned scale per channel on the branch. Keeps `[B, C, F]`."""

    def __init__(self, channels: int, hidden: int, *, scale: float = 1.0) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).transpose(1, 2))  # [B, F, C]
        return x + (self.scale * self.mlp(y)).transpose(1, 2)


class ResNetBlock(nn.Module):
    """Two (GroupNorm, SiLU, conv3) with a skip, as before and after NeuCodec's transformer. `[B, C, F]` to the same."""

    def __init__(self, channels: int, *, dropout: float = 0.1, groups: int = 32) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.GroupNorm(groups, channels, eps=1e-6),
            nn.SiLU(),
            nn.Conv1d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels, eps=1e-6),
            nn.SiLU(),
            nn.Dropout(dropout),
            nn.Conv1d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


def rotary(x: Tensor, base: float = 10_000.0) -> Tensor:
    """Rotate `[B, H, F, C]` queries or keys by their position on the frame axis F (RoPE, eq. 34), in float32."""
    frames, width = x.shape[-2], x.shape[-1]
    rate = base ** (-torch.arange(0, width, 2, device=x.device, dtype=torch.float32) / width)
    angle = torch.outer(torch.arange(frames, device=x.device, dtype=torch.float32), rate)  # [F, C/2]
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    turned = torch.stack((even * angle.cos() - odd * angle.sin(), even * angle.sin() + odd * angle.cos()), -1)
    return turned.flatten(-2).type_as(x)


class Attention(nn.Module):
    """Bias-free multi-head self-attention over frames with rotary positions. `[B, F, C]` to the same."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(channels, 3 * channels, bias=False)
        self.out = nn.Linear(channels, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each [B, H, F, C/H]
        y = F.scaled_dot_product_attention(rotary(q), rotary(k), v)
        return self.out(y.transpose(1, 2).flatten(-2))


class TransformerBlock(nn.Module):
    """Pre-norm (RMSNorm) attention and SiLU MLP, no biases. `[B, F, C]` to the same."""

    def __init__(self, channels: int, heads: int, *, expansion: int = 4) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(channels, eps=1e-6)
        self.attention = Attention(channels, heads)
        self.mlp_norm = nn.RMSNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            nn.Linear(channels, expansion * channels, bias=False),
            nn.SiLU(),
            nn.Linear(expansion * channels, channels, bias=False),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))
