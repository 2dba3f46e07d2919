"""SnakeBeta and its anti-aliased form, between up- and down-sampling filters (BigVGAN, arXiv 2206.04658)."""

import torch
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.layers.anti_aliased import anti_aliased_snake
from codec.layers.streaming import Memoryless


class SnakeBeta(nn.Module, Memoryless):
    """x + sin²(αx) / β with α and β learned per channel on a log scale (BigVGAN, section 3.2). Keeps `[B, C, T]`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(torch.zeros(channels, 1))
        self.log_beta = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        alpha, inverse_beta = self.factors()
        return torch.addcmul(x, torch.sin(x * alpha).square(), inverse_beta)

    def factors(self) -> tuple[Tensor, Tensor]:
        """α and 1 / β, each `[C, 1]`."""
        return self.log_alpha.exp(), 1 / (self.log_beta.exp() + 1e-9)


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

    One operator, `codec.layers.anti_aliased`, that keeps only its input for the backward pass.

    Args:
        activation: applied at the doubled rate.
        taps: length of both filters in samples at the doubled rate, even and at least 6.

    Raises:
        InvalidValue: another number of taps.
    """

    lowpass: Tensor

    def __init__(self, activation: SnakeBeta, taps: int = 12) -> None:
        super().__init__()
        if taps % 2 or taps < 6:
            raise InvalidValue("taps", taps, "must be even and at least 6", "take 12")
        self.activation, self.taps = activation, taps
        self.register_buffer("lowpass", kaiser_lowpass(0.25, 0.3, taps), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        alpha, inverse_beta = self.activation.factors()
        return anti_aliased_snake(x, alpha, inverse_beta, self.lowpass)


def snake(channels: int, *, anti_aliased: bool) -> nn.Module:
    """SnakeBeta for `[B, C, T]`, between up- and down-sampling filters if `anti_aliased`."""
    return AntiAliasedActivation(SnakeBeta(channels)) if anti_aliased else SnakeBeta(channels)
