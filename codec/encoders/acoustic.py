"""Encoders from audio to latents: BigCodec-style convolutions (arXiv 2409.05377) and a cheap spectral front end."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.activations import snake
from codec.layers.blocks import ConvNeXtBlock, ResidualUnit, normed_conv, run
from codec.layers.spectral import log_magnitude


class Encoder(nn.Module, ABC):
    """Turns audio into latents, one vector of width `dim` per `hop_length` samples.

    Attributes:
        dim: latent width D.
        hop_length: samples per frame.
    """

    dim: int
    hop_length: int

    def whole_frames(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, T]` as `forward` wants it: silence appended up to whole frames."""
        return F.pad(audio, (0, -audio.shape[-1] % self.hop_length))

    @abstractmethod
    def forward(self, audio: Tensor) -> Tensor:
        """Encode whole frames of float audio in [−1, 1], `[B, 1, F * hop_length]`, to `[B, D, F]`."""


class AcousticEncoder(Encoder):
    """BigCodec's convolutional encoder, NeuCodec's acoustic branch (width 48, dim 1024: 38.5 M parameters).

    Args:
        dim: latent width D.
        width: channels after the first convolution; doubled at each stride.
        strides: down-sampling factors; their product is `hop_length`.
        dilations: of the residual units before each stride.
        anti_aliased: run SnakeBeta between up- and down-sampling filters, as NeuCodec does; off is faster.
        checkpointing: keep only the layers' inputs for the backward pass and compute the rest again.
        weight_norm: parametrize the convolutions by direction and length, as in training; published weights have them
            folded.
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

    def forward(self, audio: Tensor) -> Tensor:
        return run(self.layers, audio, checkpointing=self.checkpointing)  # [B, D, F]


class SpectralEncoder(Encoder):
    """Log-magnitude STFT followed by ConvNeXt blocks at the frame rate: a few percent of AcousticEncoder's cost.

    Args:
        dim: latent width D.
        hop_length: samples per frame.
        width: channels of the blocks.
        depth: number of blocks.
        window: STFT window in hops.
    """

    def __init__(
        self, dim: int = 256, hop_length: int = 320, *, width: int = 256, depth: int = 4, window: int = 3
    ) -> None:
        super().__init__()
        self.dim, self.hop_length, self.n_fft = dim, hop_length, window * hop_length
        self.embed = nn.Conv1d(self.n_fft // 2 + 1, width, 3, padding=1)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width, 3 * width, scale=1 / depth) for _ in range(depth)])
        self.out = nn.Linear(width, dim)
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = log_magnitude(audio.squeeze(1).float(), self.n_fft, self.hop_length)  # [B, n_fft/2+1, F]
        x = self.norm(self.embed(spectrum).transpose(1, 2)).transpose(1, 2)
        x = self.blocks(x)
        return self.out(self.out_norm(x.transpose(1, 2))).transpose(1, 2)  # [B, D, F]
