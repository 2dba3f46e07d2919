"""BigCodec's discriminators (arXiv 2409.05377), which X-Codec 2 (arXiv 2502.04128) and NeuCodec train against.

Architecture, padding and clamping follow the published training code. Its score map does not enter feature matching,
and mean L1 distances are summed over layers and sub-discriminators: `FeatureMatchingLoss` and `LeastSquaresLoss` at
weight 1 are the published losses.

That code also draws the spectrogram discriminators' weights from a normal distribution of standard deviation 0.02, but
after weight norm is set up: the draw goes to the derived weight, which the first forward pass computes anew. So
training starts from PyTorch's default initialisation there, and here.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from codec.layers.padding import reflect_ends
from codec.layers.spectral import frame_spectra
from codec.training.discriminators.base import DiscriminatorOutput, SubDiscriminators, check_sizes, run_layers


class PeriodSubDiscriminator(nn.Module):
    """Convolutions along the columns of audio folded into rows of `period` samples."""

    def __init__(self, period: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.period = period
        strides = [3] * (len(channels) - 1) + [1]
        self.layers = nn.ModuleList(
            weight_norm(nn.Conv2d(a, b, (5, 1), (stride, 1), (2, 0)))
            for (a, b), stride in zip(pairwise([1, *channels]), strides, strict=True)
        )
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, (2, 1), padding=(1, 0)))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        x = reflect_ends(audio, 0, -audio.shape[-1] % self.period)
        return run_layers(x.unflatten(-1, (-1, self.period)), self.layers, self.score)  # [B, 1, T / period, period]


class BigCodecPeriodDiscriminator(SubDiscriminators):
    """Multi-period discriminator with BigCodec's widths; the end is reflected up to a multiple of each period.

    10.3 M parameters at the defaults. Kernels of 5 samples, stride 3 but in the last layer, leaky ReLU of slope 0.1.

    Args:
        periods: in samples, pairwise coprime.
        channels: widths of the convolutions, at least one.

    Raises:
        InvalidValue: no size is given, or one is too small; in `forward`, the audio is
            not longer than half of a period.
    """

    def __init__(
        self, periods: Sequence[int] = (2, 3, 5, 7, 11), channels: Sequence[int] = (16, 64, 256, 512, 512)
    ) -> None:
        super().__init__()
        check_sizes("periods", periods)
        check_sizes("channels", channels)
        self.parts = nn.ModuleList(PeriodSubDiscriminator(period, channels) for period in periods)


class SpectrogramSubDiscriminator(nn.Module):
    """2-d convolutions over the magnitudes of an STFT, frequency by time."""

    def __init__(self, n_fft: int, channels: Sequence[int]) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.register_buffer("window", torch.hann_window(n_fft), persistent=False)
        *strided, last = pairwise([1, *channels])
        self.layers = nn.ModuleList(weight_norm(nn.Conv2d(a, b, 5, 2, 2)) for a, b in strided)
        self.layers.append(weight_norm(nn.Conv2d(*last, 3, padding=1)))
        self.score = weight_norm(nn.Conv2d(channels[-1], 1, 3, padding=1))

    def forward(self, audio: Tensor) -> DiscriminatorOutput:
        x = self.magnitude(audio.squeeze(1)).unsqueeze(1)  # [B, 1, n_fft / 2 + 1, frames]
        return run_layers(x, self.layers, self.score, slope=0.2)

    def magnitude(self, audio: Tensor) -> Tensor:
        """Magnitudes of the Hann STFT of `[B, T]`, reflected at both ends: `[B, n_fft / 2 + 1, frames]`.

        Powers are limited to 1e-7 … 1e3; outside the gradient is 0, so also at silence. Computed in float32 at least,
        under autocast too; returned in the precision of the audio.
        """
        with torch.autocast(audio.device.type, enabled=False):
            x = audio.to(torch.promote_types(audio.dtype, torch.float32))
            half = self.n_fft // 2
            spectrum = frame_spectra(reflect_ends(x, half, half), self.get_buffer("window").to(x.dtype), half)
            power = torch.view_as_real(spectrum).square().sum(-1)
            return power.clamp(1e-7, 1e3).sqrt().transpose(1, 2).to(audio.dtype)


class BigCodecSpectrogramDiscriminator(SubDiscriminators):
    """One discriminator on magnitude spectrograms per transform length, the lengths as in X-Codec 2.

    18.1 M parameters at the defaults. Window as long as the transform, hop half of it; kernels of 5 × 5 with stride
    2 × 2, then 3 × 3, leaky ReLU of slope 0.2.

    Args:
        n_ffts: transform lengths in samples.
        channels: widths of the convolutions, at least one; the last two convolutions have stride 1.

    Raises:
        InvalidValue: no size is given, or one is too small; in `forward`, the audio is
            not longer than half of the longest transform.
    """

    def __init__(
        self,
        n_ffts: Sequence[int] = (78, 126, 206, 334, 542, 876, 1418, 2296),
        channels: Sequence[int] = (32, 64, 128, 256, 512),
    ) -> None:
        super().__init__()
        check_sizes("n_ffts", n_ffts, least=2)
        check_sizes("channels", channels)
        self.parts = nn.ModuleList(SpectrogramSubDiscriminator(n_fft, channels) for n_fft in n_ffts)
