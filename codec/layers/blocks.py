"""Building blocks of encoders and decoders: residual units (BigCodec), ConvNeXt and ResNet blocks.

Sources: BigCodec (arXiv 2409.05377), ConvNeXt (arXiv 2201.03545), X-Codec 2 (arXiv 2502.04128).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from codec.layers.activations import snake
from codec.layers.extents import Extents, silenced
from codec.layers.streaming import Memoryless, States, Streaming, Tail, start_layers, step_layers


def normed_conv(
    in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, dilation: int = 1, normed: bool = True
) -> nn.Module:
    """Conv1d, weight-normed by default, with padding such that `[B, C, F * stride]` becomes `[B, C', F]` exactly."""
    padding = (dilation * (kernel - 1) + 1 - stride + 1) // 2
    conv = nn.Conv1d(in_channels, out_channels, kernel, stride, padding, dilation)
    return weight_norm(conv) if normed else conv


class ResidualUnit(nn.Module):
    """BigCodec's residual unit, x + conv1(snake(conv7(snake(x)))) with a dilated conv7. Keeps `[B, C, T]`."""

    def __init__(self, channels: int, dilation: int, *, anti_aliased: bool = True, normed: bool = True) -> None:
        super().__init__()
        self.block = nn.Sequential(
            snake(channels, anti_aliased=anti_aliased),
            normed_conv(channels, channels, 7, dilation=dilation, normed=normed),
            snake(channels, anti_aliased=anti_aliased),
            normed_conv(channels, channels, 1, normed=normed),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class FrameConv(nn.Conv1d, Streaming[Tail]):
    """Conv1d of odd kernel that keeps the length of `[B, C, F]`; if causal, on a frame and those before it only."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, groups: int = 1, causal: bool = False
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=0 if causal else kernel // 2, groups=groups)
        self.causal = causal or kernel == 1
        self.before = kernel - 1 if causal else 0

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        return super().forward(F.pad(silenced(x, extents), (self.before, 0)))

    def start(self, batch: int) -> Tail:
        return Tail(self.weight.new_zeros(batch, self.in_channels, self.before))

    def step(self, x: Tensor, state: Tail) -> tuple[Tensor, Tail]:
        joined, state = state.followed_by(x)
        return super().forward(joined), state


class TimeGroupNorm(nn.GroupNorm):
    """GroupNorm over the frames of each clip, without those beyond its end. Keeps `[B, C, F]`."""

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        if extents is None:
            return super().forward(x)
        grouped = x.float().unflatten(1, (self.num_groups, -1))  # [B, G, C / G, F]
        mean = extents.mean(grouped.mean(2))[:, :, None]  # [B, G, 1, 1]
        variance = extents.mean((grouped - mean).square().mean(2))[:, :, None]
        normed = ((grouped - mean) * (variance + self.eps).rsqrt()).flatten(1, 2).type_as(x)
        return normed * self.weight[:, None] + self.bias[:, None]


class FrameGroupNorm(nn.GroupNorm, Memoryless):
    """GroupNorm over each frame separately, for causal models. Keeps `[B, C, F]`."""

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        frames = x.transpose(1, 2)  # [B, F, C]
        return super().forward(frames.flatten(0, 1)).view_as(frames).transpose(1, 2)


class ConvNeXtBlock(nn.Module, Streaming[Tail]):
    """ConvNeXt block: x + scale · MLP(LayerNorm(depthwise conv7(x))). Keeps `[B, C, F]`.

    Args:
        channels: C.
        hidden: width inside the MLP.
        scale: initial value of the learned scale of each channel.
        causal: a frame depends on itself and earlier ones only.
    """

    def __init__(self, channels: int, hidden: int, *, scale: float = 1.0, causal: bool = False) -> None:
        super().__init__()
        self.depthwise = FrameConv(channels, channels, 7, groups=channels, causal=causal)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.scale = nn.Parameter(torch.full((channels,), scale))

    @property
    def causal(self) -> bool:
        return self.depthwise.causal

    def forward(self, x: Tensor) -> Tensor:
        return self._residual(x, self.depthwise(x))

    def start(self, batch: int) -> Tail:
        return self.depthwise.start(batch)

    def step(self, x: Tensor, state: Tail) -> tuple[Tensor, Tail]:
        y, state = self.depthwise.step(x, state)
        return self._residual(x, y), state

    def _residual(self, x: Tensor, y: Tensor) -> Tensor:
        y = self.norm(y.transpose(1, 2))  # [B, F, C]
        return x + (self.scale * self.mlp(y)).transpose(1, 2)


class ResNetBlock(nn.Module, Streaming[States]):
    """Twice (GroupNorm of 32 groups, SiLU, conv3) with a skip connection, as around NeuCodec's transformer.

    Keeps `[B, C, F]`. The causal form normalises each frame separately.
    """

    def __init__(self, channels: int, *, dropout: float = 0.1, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        norm = FrameGroupNorm if causal else TimeGroupNorm
        self.block = nn.Sequential(
            norm(32, channels, eps=1e-6),
            nn.SiLU(),
            FrameConv(channels, channels, 3, causal=causal),
            norm(32, channels, eps=1e-6),
            nn.SiLU(),
            nn.Dropout(dropout),
            FrameConv(channels, channels, 3, causal=causal),
        )

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        return x + (self.block(x) if extents is None else run_masked(self.block, x, extents))

    def start(self, batch: int) -> States:
        return start_layers(self.block, batch)

    def step(self, x: Tensor, state: States) -> tuple[Tensor, States]:
        y, state = step_layers(self.block, x, state)
        return x + y, state


MASKED = FrameConv, TimeGroupNorm, FrameGroupNorm, ResNetBlock


def run_masked(layers: nn.Sequential, x: Tensor, extents: Extents) -> Tensor:
    """Apply layers in order to clips of unequal lengths `[B, C, F]`; those that look beyond a frame mask the rest."""
    for layer in layers:
        x = layer(x, extents) if isinstance(layer, MASKED) else layer(x)
    return x


def run(layers: nn.Sequential, x: Tensor, *, checkpointing: bool) -> Tensor:
    """Apply layers in order; with `checkpointing`, only their inputs are stored for the backward pass."""
    if not (checkpointing and torch.is_grad_enabled()):
        return layers(x)
    for layer in layers:
        x = checkpoint(layer, x, use_reentrant=False)
    return x
