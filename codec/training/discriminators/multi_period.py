"""Multi-period discriminator of HiFi-GAN (arXiv 2010.05646), padded by zeros."""

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from codec.training.discriminators.base import DiscriminatorOutput, SubDiscriminators, check_sizes, run_layers


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


class MultiPeriodDiscriminator(SubDiscriminators):
    """HiFi-GAN's multi-period discriminator, with zeros instead of a reflection where T is no multiple of a period.

    41.1 M parameters at the default widths, four times X-Codec 2's: for that recipe take `BigCodecPeriodDiscriminator`.

    Args:
        periods: in samples, pairwise coprime.
        channels: widths of the convolutions; small runs can do with half of them or fewer.

    Raises:
        InvalidValue: no size is given, or one is too small.
    """

    def __init__(
        self, periods: Sequence[int] = (2, 3, 5, 7, 11), channels: Sequence[int] = (32, 128, 512, 1024, 1024)
    ) -> None:
        super().__init__()
        check_sizes("periods", periods)
        check_sizes("channels", channels)
        self.parts = nn.ModuleList(PeriodDiscriminator(period, channels) for period in periods)
