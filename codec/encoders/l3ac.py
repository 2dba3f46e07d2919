"""The student encoder: small convolutions and local attention after SQCodec / L3AC (arXiv 2504.04949)."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from torch import Tensor, nn

from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.layers.attention import LocalAttention, TransformerBlock
from codec.layers.extents import Extents
from codec.layers.l3ac import DepthwiseUnit, PaddedConv
from codec.layers.streaming import States, Streaming, Tail, start_layers, step_layers


class StudentState(NamedTuple):
    """The past of a causal `StudentEncoder`, by its parts."""

    convolutions: States
    attention: States
    stage: Tail
    out: Tail


class StudentEncoder(Encoder, Streaming[StudentState]):
    """SQCodec's / L3AC's encoder: depthwise units and strided convolutions, local attention, and one more stride.

    With the default strides of 4, 4, 4 and, after the attention, 5, `hop_length` is 320, and for audio at 16 kHz the
    attention runs at 250 Hz.

    Args:
        dim: latent width D.
        widths: channels before the first and after each stride.
        strides: down-sampling factors of the convolutional stages.
        depths: number of depthwise units at each width.
        attention_stride: down-sampling factor after the attention.
        attention_depth: number of transformer blocks.
        heads: attention heads.
        window: positions to which one attends on either side or, if causal, before it.
        causal: a frame depends on its own and earlier samples only, for streaming.

    Raises:
        InvalidValue: widths and depths are not one more than strides.
    """

    takes_extents = True

    def __init__(
        self,
        dim: int = 768,
        widths: Sequence[int] = (24, 48, 96, 192),
        *,
        strides: Sequence[int] = (4, 4, 4),
        depths: Sequence[int] = (1, 1, 1, 2),
        attention_stride: int = 5,
        attention_depth: int = 4,
        heads: int = 4,
        window: int = 50,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if not len(widths) == len(depths) == len(strides) + 1:
            raise InvalidValue(
                f"{len(widths)} widths and {len(depths)} depths",
                allowed=f"must each be one more than the {len(strides)} strides",
            )
        self.dim, self.hop_length, self.causal = dim, math.prod(strides) * attention_stride, causal
        layers: list[nn.Module] = [PaddedConv(1, widths[0], kernel=7, causal=causal)]
        for (width, wider), stride, depth in zip(pairwise(widths), strides, depths, strict=False):
            layers += [DepthwiseUnit(width, causal=causal) for _ in range(depth)]
            layers += [PaddedConv(width, wider, kernel=2 * stride, stride=stride, causal=causal)]
        width = widths[-1]
        layers += [DepthwiseUnit(width, causal=causal) for _ in range(depths[-1])]
        self.convolutions = nn.Sequential(*layers)
        self.attention = nn.Sequential(
            *[
                TransformerBlock(width, LocalAttention(width, heads, window=window, causal=causal), 4 * width)
                for _ in range(attention_depth)
            ]
        )
        stride = attention_stride
        self.stage = PaddedConv(width, 2 * width, kernel=2 * stride, stride=stride, causal=causal)
        self.norm = nn.LayerNorm(2 * width, eps=1e-6)
        self.out = PaddedConv(2 * width, dim, kernel=3, causal=causal)

    def forward(self, audio: Tensor, extents: Extents | None = None) -> Tensor:
        if extents is not None:
            return self._masked(audio, extents)
        x = self.convolutions(audio)  # [B, C, F * attention_stride]
        x = self.stage(self.attention(x.transpose(1, 2)).transpose(1, 2))  # [B, 2C, F]
        return self.out(self.norm(x.transpose(1, 2)).transpose(1, 2))  # [B, D, F]

    def start(self, batch: int) -> StudentState:
        return StudentState(
            start_layers(self.convolutions, batch),
            start_layers(self.attention, batch),
            self.stage.start(batch),
            self.out.start(batch),
        )

    def step(self, x: Tensor, state: StudentState) -> tuple[Tensor, StudentState]:
        """Whole frames of audio `[B, 1, n * hop_length]` to their latents `[B, D, n]`."""
        x, convolutions = step_layers(self.convolutions, x, state.convolutions)
        x, attention = step_layers(self.attention, x.transpose(1, 2), state.attention)
        x, stage = self.stage.step(x.transpose(1, 2), state.stage)
        x, out = self.out.step(self.norm(x.transpose(1, 2)).transpose(1, 2), state.out)
        return x, StudentState(convolutions, attention, stage, out)

    def _masked(self, audio: Tensor, extents: Extents) -> Tensor:
        """The same for clips of unequal lengths, at each layer's own rate."""
        x = audio
        for layer in self.convolutions:
            x = layer(x, extents)
            extents = extents.strided(layer.stride) if isinstance(layer, PaddedConv) else extents
        x = x.transpose(1, 2)
        for block in self.attention:
            x = block(x, extents)
        x = self.stage(x.transpose(1, 2), extents)
        extents = extents.strided(self.stage.stride)
        return self.out(self.norm(x.transpose(1, 2)).transpose(1, 2), extents)  # [B, D, F]
