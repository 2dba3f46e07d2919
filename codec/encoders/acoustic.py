"""BigCodec's convolutional encoder (arXiv 2409.05377), the acoustic branch of NeuCodec."""

import math
from collections.abc import Sequence

from torch import Tensor, nn

from codec.encoders.base import Encoder
from codec.layers.activations import snake
from codec.layers.blocks import ResidualUnit, normed_conv, run

FILTER_REACH = 6  # samples on either side that an anti-aliased activation looks at: half of its 12 taps


class AcousticEncoder(Encoder):
    """BigCodec's convolutional encoder, NeuCodec's acoustic branch (width 48, dim 1024: 38.5 M parameters).

    Args:
        dim: latent width D.
        width: channels after the first convolution; doubled at each stride.
        strides: down-sampling factors; their product is `hop_length`.
        dilations: of the residual units before each stride, one unit each.
        anti_aliased: put SnakeBeta between up- and down-sampling filters, as NeuCodec does; faster without.
        weight_norm: parametrize the convolutions by direction and length, as for training; False for published
            weights, in which the two are multiplied.
        checkpointing: store only the layers' inputs for the backward pass and compute the rest again.
    """

    def __init__(
        self,
        dim: int = 1024,
        width: int = 48,
        *,
        strides: Sequence[int] = (2, 2, 4, 4, 5),
        dilations: Sequence[int] = (1, 3, 9),
        anti_aliased: bool = True,
        weight_norm: bool = True,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        self.dim, self.hop_length, self.checkpointing = dim, math.prod(strides), checkpointing
        self.width, self.strides, self.dilations = width, tuple(strides), tuple(dilations)
        self.anti_aliased = anti_aliased
        layers: list[nn.Module] = [normed_conv(1, width, 7, normed=weight_norm)]
        for stride in strides:
            layers += [
                ResidualUnit(width, dilation, anti_aliased=anti_aliased, normed=weight_norm) for dilation in dilations
            ]
            layers += [
                snake(width, anti_aliased=anti_aliased),
                normed_conv(width, 2 * width, 2 * stride, stride=stride, normed=weight_norm),
            ]
            width *= 2
        layers += [snake(width, anti_aliased=anti_aliased), normed_conv(width, dim, 3, normed=weight_norm)]
        self.layers = nn.Sequential(*layers)

    @property
    def receptive_field(self) -> tuple[int, int]:
        filters = FILTER_REACH if self.anti_aliased else 0
        units = sum(2 * filters + 3 * dilation for dilation in self.dilations)
        before = after = 3  # in samples
        scale = 1
        for stride in self.strides:
            padding = (stride + 1) // 2
            before += scale * (units + filters + padding)
            after += scale * (units + filters + stride - padding)
            scale *= stride
        rest = self.hop_length * (filters + 1)
        return -(-(before + rest) // self.hop_length), -(-(after + rest) // self.hop_length)

    def forward(self, audio: Tensor) -> Tensor:
        return run(self.layers, audio, checkpointing=self.checkpointing)  # [B, D, F]
