"""Building blocks of student encoders: padded convolutions, response normalization, units.

Sources: SQCodec / L3AC (arXiv 2504.04949), ConvNeXt V2 (arXiv 2301.00808). Each block has a causal form, whose output
at a position depends on that position and earlier ones only.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from codec.layers.activations import SnakeBeta
from codec.layers.extents import Extents, silenced
from codec.layers.streaming import States, Streaming, Tail, start_layers, step_layers


class PaddedConv(nn.Module, Streaming[Tail]):
    """Weight-normed Conv1d from `[B, C, F * stride]` to `[B, C', F]`, padded on both sides or, if causal, on the left.

    The causal output at f depends only on inputs before (f + 1) · stride.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel: int,
        stride: int = 1,
        groups: int = 1,
        causal: bool = False,
    ) -> None:
        super().__init__()
        self.conv = weight_norm(nn.Conv1d(in_channels, out_channels, kernel, stride, groups=groups))
        total = kernel - stride
        self.stride, self.causal = stride, causal or total == 0
        left = total if causal else total // 2
        self.padding = (left, total - left)

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        return self.conv(F.pad(silenced(x, extents), self.padding))

    def start(self, batch: int) -> Tail:
        return Tail(torch.zeros(batch, self.conv.in_channels, self.padding[0], device=self.conv.weight.device))

    def step(self, x: Tensor, state: Tail) -> tuple[Tensor, Tail]:
        joined, state = state.followed_by(x)
        return self.conv(joined), state


class PowerState(NamedTuple):
    """The past of a causal `ResponseNorm`.

    Attributes:
        mean: square of each channel, averaged over all positions so far, float32 `[B, C, 1]`.
        number: of these positions, int64 `[B, 1, 1]`.
    """

    mean: Tensor
    number: Tensor


class ResponseNorm(nn.Module, Streaming[PowerState]):
    """Global response normalization (ConvNeXt V2, eq. 1–3): x + γ · x · r / mean(r) + β. Keeps `[B, C, T]`.

    r is a channel's root mean square over time, and the mean is over channels. The causal form takes the mean square up
    to each position. γ and β are learned per channel and start at zero.
    """

    def __init__(self, channels: int, *, causal: bool = False) -> None:
        super().__init__()
        self.causal = causal
        self.gamma = nn.Parameter(torch.zeros(channels, 1))
        self.beta = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            power = x.float().square()
            if self.causal:
                power = running_sum(power) / torch.arange(1, x.shape[-1] + 1, device=x.device)  # [B, C, T]
            else:  # [B, C, 1]
                power = power.mean(-1, keepdim=True) if extents is None else extents.mean(power)
        return self._normed(x, power)

    def start(self, batch: int) -> PowerState:
        number = torch.zeros(batch, 1, 1, dtype=torch.long, device=self.gamma.device)
        return PowerState(self.gamma.new_zeros(batch, self.gamma.shape[0], 1), number)

    def step(self, x: Tensor, state: PowerState) -> tuple[Tensor, PowerState]:
        with torch.autocast(x.device.type, enabled=False):
            places = state.number + torch.arange(1, x.shape[-1] + 1, device=x.device)  # [B, 1, n]
            # A mean and what differs from it stay accurate over hours, a sum would not.
            power = state.mean + running_sum(x.float().square() - state.mean) / places  # [B, C, n]
        return self._normed(x, power), PowerState(power[..., -1:].clone(), places[..., -1:].clone())

    def _normed(self, x: Tensor, power: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            response = (power + 1e-12).sqrt()
            response = response / (response.mean(1, keepdim=True) + 1e-6)
        return x + self.gamma * (x * response.type_as(x)) + self.beta


def running_sum(x: Tensor) -> Tensor:
    """Sums of `[..., T]` up to each position, as `cumsum`, which varies from call to call on CUDA.

    Under deterministic algorithms, where `cumsum` raises, stretches of 1, 2, 4, … positions are added in turn.
    """
    if not torch.are_deterministic_algorithms_enabled():
        return x.cumsum(-1)
    reach = 1
    while reach < x.shape[-1]:
        x = x + F.pad(x[..., :-reach], (reach, 0))
        reach *= 2
    return x


class DepthwiseUnit(nn.Module, Streaming[States]):
    """L3AC's unit: x + pointwise(GRN(snake(pointwise(LayerNorm(depthwise conv7(x)))))). Keeps `[B, C, T]`.

    GRN is `ResponseNorm`; the pointwise convolutions are four times as wide inside.
    """

    def __init__(self, channels: int, *, causal: bool = False) -> None:
        super().__init__()
        hidden, self.causal = 4 * channels, causal
        self.depthwise = PaddedConv(channels, channels, kernel=7, groups=channels, causal=causal)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(
            PaddedConv(channels, hidden, kernel=1),
            SnakeBeta(hidden),
            ResponseNorm(hidden, causal=causal),
            PaddedConv(hidden, channels, kernel=1),
        )

    def forward(self, x: Tensor, extents: Extents | None = None) -> Tensor:
        y = self.norm(self.depthwise(x, extents).transpose(1, 2)).transpose(1, 2)  # [B, C, T]
        if extents is None:
            return x + self.mlp(y)
        widen, snake, respond, narrow = self.mlp
        return x + narrow(respond(snake(widen(y)), extents))

    def start(self, batch: int) -> States:
        return self.depthwise.start(batch), start_layers(self.mlp, batch)

    def step(self, x: Tensor, state: States) -> tuple[Tensor, States]:
        y, before = self.depthwise.step(x, state[0])
        y, inside = step_layers(self.mlp, self.norm(y.transpose(1, 2)).transpose(1, 2), state[1])
        return x + y, (before, inside)
