"""Discriminators: multi-period (HiFi-GAN, arXiv 2010.05646) and multi-resolution complex spectrogram (EnCodec, DAC)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm


class DiscriminatorOutput(NamedTuple):
    """One sub-discriminator's output: its score map `[B, 1, ...]` and the features of each layer before it."""

    score: Tensor
    features: list[Tensor]


class Discriminator(nn.Module, ABC):
    """Tells real audio from generated audio; may hold several sub-discriminators."""

    @abstractmethod
    def forward(self, audio: Tensor) -> list[DiscriminatorOutput]:
        """Audio `[B, 1, T]` to one output per sub-discriminator."""


class PeriodDiscriminator(nn.Module):
    """2-d convolutions over audio folded into rows of `period` samples, each column seen alone."""

    def __init__(self, period: int, channels: Sequence[int], *, stride: int = 3) -> None:
        super().__init__()
        self.period = period
        widths = [1, *channels]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (stride if i < len(channels) - 1 else 1, 1), (2, 0)))
            for i, (a, b) in enumerate(pairwise(widths))
        )
        self.score = weight_norm(nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        x = F.pad(audio, (0, -audio.shape[-1] % self.period))
        return run_layers(x.unflatten(-1, (-1, self.period)), self.layers, self.score)  # [B, 1, T / period, period]


class MultiPeriodDiscriminator(Discriminator):
    """HiFi-GAN's multi-period discriminator.

    Args:
        periods: in samples, pairwise coprime.
        channels: widths of the convolutions; small runs can do with half of them or fewer.
    """

    def __init__(
        self, periods: Sequence[int] = (2, 3, 5, 7, 11), channels: Sequence[int] = (32, 128, 512, 1024, 1024)
    ) -> None:
        super().__init__()
        self.parts = nn.ModuleList(PeriodDiscriminator(period, channels) for period in periods)

    def forward(self, audio: Tensor) -> list[DiscriminatorOutput]:
        return [part(audio) for part in self.parts]


class SpectrogramDiscriminator(nn.Module):
    """2-d convolutions over the real and imaginary parts of an STFT, time by frequency."""

    def __init__(self, n_fft: int, channels: int, *, layers: int = 4) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(2 if i == 0 else channels, channels, (3, 9), (1, 1 if i == 0 else 2), (1, 4)))
            for i in range(layers)
        )
        self.layers.append(weight_norm(nn.Conv2d(channels, channels, 3, padding=1)))
        self.score = weight_norm(nn.Conv2d(channels, 1, 3, padding=1))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        with torch.autocast(audio.device.type, enabled=False):
            window = self.get_buffer("window")
            spectrum = torch.stft(
                audio.squeeze(1).float(),
                self.n_fft,
                self.n_fft // 4,
                window=window,
                normalized=True,
                pad_mode="constant",
                return_complex=True,
            )
            x = torch.view_as_real(spectrum).permute(0, 3, 2, 1)  # [B, 2, frames, n_fft / 2 + 1]
        return run_layers(x, self.layers, self.score)


class MultiResolutionSpectrogramDiscriminator(Discriminator):
    """One spectrogram discriminator per transform length, the defaults as in X-Codec 2 (arXiv 2502.04128).

    Args:
        n_ffts: transform lengths in samples; the hop is a quarter of each.
        channels: width of the convolutions.
    """

    def __init__(self, n_ffts: Sequence[int] = (78, 126, 206, 334, 542, 876, 1418, 2296), channels: int = 32) -> None:
        super().__init__()
        self.parts = nn.ModuleList(SpectrogramDiscriminator(n_fft, channels) for n_fft in n_ffts)

    def forward(self, audio: Tensor) -> list[DiscriminatorOutput]:
        return [part(audio) for part in self.parts]


def run_layers(x: Tensor, layers: nn.ModuleList, score: nn.Module) -> DiscriminatorOutput:
    """Run leaky-ReLU layers, keeping each output, then the score layer."""
    features = []
    for layer in layers:
        x = F.leaky_relu(layer(x), 0.1)
        features.append(x)
    return DiscriminatorOutput(score(x), features)
