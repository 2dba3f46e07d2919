"""Small encoders to distil into a trained codec: L3AC-style (arXiv 2504.04949) and mel-based."""

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torchaudio
from torch import Tensor, nn

from codec.encoders.acoustic import Encoder
from codec.layers.attention import LocalAttention, TransformerBlock
from codec.layers.blocks import ConvNeXtBlock
from codec.layers.l3ac import DepthwiseUnit, PaddedConv
from codec.layers.spectral import same_stft


class StudentEncoder(Encoder):
    """SQCodec's / L3AC's encoder: depthwise units and strided convolutions, then local attention and one more stride.

    With the default strides 4 · 4 · 4 and ÷5 the attention runs at 250 Hz for audio at 16 kHz, and `hop_length` is 320.

    Args:
        dim: latent width D.
        widths: channels before the first and after each stride.
        strides: down-sampling factors of the convolutional stages.
        depths: depthwise units at each width.
        attention_stride: down-sampling factor after the attention.
        attention_depth: transformer blocks between the two.
        heads: attention heads.
        window: positions that attention sees on either side, or if causal before.
        causal: an output frame depends on its own and earlier samples only, for streaming.

    Raises:
        ValueError: the numbers of widths, strides and depths do not go together.
    """

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
            raise ValueError(
                f"{len(widths)} widths and {len(depths)} depths must each be one more than the {len(strides)} strides."
            )
        self.dim, self.hop_length = dim, math.prod(strides) * attention_stride
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

    def forward(self, audio: Tensor) -> Tensor:
        x = self.convolutions(audio)  # [B, C, F * attention_stride]
        x = self.stage(self.attention(x.transpose(1, 2)).transpose(1, 2))  # [B, 2C, F]
        return self.out(self.norm(x.transpose(1, 2)).transpose(1, 2))  # [B, D, F]


class MelEncoder(Encoder):
    """Log-mel spectrogram and a few ConvNeXt blocks: the cheapest student, a fraction of SpectralEncoder's cost.

    Args:
        dim: latent width D.
        hop_length: samples per frame.
        bands: mel bands (HTK scale) up to half the sample rate.
        width: channels of the blocks.
        depth: number of blocks.
        expansion: of the blocks' inner width.
        window: STFT window in hops.
        sample_rate: of the audio in Hz.
    """

    bank: Tensor

    def __init__(
        self,
        dim: int = 256,
        hop_length: int = 320,
        *,
        bands: int = 100,
        width: int = 96,
        depth: int = 2,
        expansion: int = 3,
        window: int = 3,
        sample_rate: int = 16_000,
    ) -> None:
        super().__init__()
        self.dim, self.hop_length, self.n_fft = dim, hop_length, window * hop_length
        with torch.device("cpu"):  # which looks at its numbers
            bank = torchaudio.functional.melscale_fbanks(self.n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate)
        self.register_buffer("bank", bank, persistent=False)  # [n_fft / 2 + 1, bands]
        self.embed = nn.Conv1d(bands, width, 3, padding=1)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(
            *[ConvNeXtBlock(width, expansion * width, scale=1 / max(1, depth)) for _ in range(depth)]
        )
        self.out = nn.Linear(width, dim)
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = same_stft(audio.squeeze(1).float(), self.n_fft, self.hop_length).transpose(1, 2)
            power = spectrum.real.square() + spectrum.imag.square()  # [B, F, n_fft / 2 + 1]
            mel = 0.5 * (power @ self.bank).clamp_min(1e-10).log()  # [B, F, bands]
        x = self.norm(self.embed(mel.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        x = self.blocks(x)
        return self.out(self.out_norm(x.transpose(1, 2))).transpose(1, 2)  # [B, D, F]
