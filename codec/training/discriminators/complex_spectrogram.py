"""Multi-resolution discriminator on complex spectrograms, after EnCodec (arXiv 2210.13438) and DAC (2306.06546)."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from codec.layers.spectral import frame_spectra
from codec.training.discriminators.base import DiscriminatorOutput, SubDiscriminators, check_sizes, run_layers


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
            padded = F.pad(audio.squeeze(1).float(), (self.n_fft // 2, self.n_fft // 2))
            spectrum = torch.view_as_real(frame_spectra(padded, self.get_buffer("window"), self.n_fft // 4))
            x = (spectrum / self.n_fft**0.5).permute(0, 3, 1, 2)  # [B, 2, frames, n_fft / 2 + 1]
        return run_layers(x, self.layers, self.score)


class MultiResolutionSpectrogramDiscriminator(SubDiscriminators):
    """One discriminator on complex spectrograms per transform length, all of one width.

    Only the default transform lengths are X-Codec 2's (arXiv 2502.04128). Its discriminators see magnitudes, with a hop
    of half the length, and are wider (18.1 M parameters against 0.8 M here): for that recipe take
    `BigCodecSpectrogramDiscriminator`.

    Args:
        n_ffts: transform lengths in samples; the hop is a quarter of each.
        channels: width of the convolutions.

    Raises:
        InvalidValue: no size is given, or one is too small.
    """

    def __init__(self, n_ffts: Sequence[int] = (78, 126, 206, 334, 542, 876, 1418, 2296), channels: int = 32) -> None:
        super().__init__()
        check_sizes("n_ffts", n_ffts, least=4)
        check_sizes("channels", [channels])
        self.parts = nn.ModuleList(SpectrogramDiscriminator(n_fft, channels) for n_fft in n_ffts)
