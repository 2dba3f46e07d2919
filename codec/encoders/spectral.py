"""Encoders on a spectrogram at the frame rate: log-magnitude STFT or log-mel bands, then ConvNeXt blocks."""

import torch
import torchaudio
from torch import Tensor, nn

from codec.encoders.base import Encoder
from codec.layers.blocks import ConvNeXtBlock
from codec.layers.spectral import log_magnitude, same_stft


class SpectralEncoder(Encoder):
    """Log-magnitude STFT and ConvNeXt blocks at the frame rate, at a few percent of AcousticEncoder's cost.

    Args:
        dim: latent width D.
        hop_length: samples per frame.
        width: channels of the blocks.
        depth: number of blocks.
        window: STFT window and transform length in hops.
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

    @property
    def receptive_field(self) -> tuple[int, int]:
        """The spectrum's windows, the first convolution, and the blocks."""
        reach = -(-(self.n_fft // self.hop_length - 1) // 2) + 1 + 3 * len(self.blocks)
        return reach, reach

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = log_magnitude(audio.squeeze(1).float(), self.n_fft, self.hop_length)  # [B, n_fft/2+1, F]
        x = self.norm(self.embed(spectrum).transpose(1, 2)).transpose(1, 2)
        x = self.blocks(x)
        return self.out(self.out_norm(x.transpose(1, 2))).transpose(1, 2)  # [B, D, F]


class MelEncoder(Encoder):
    """Log-mel spectrogram and a few ConvNeXt blocks: the cheapest student encoder, cheaper than SpectralEncoder.

    Args:
        dim: latent width D.
        hop_length: samples per frame.
        bands: mel bands (HTK scale) up to half the sample rate.
        width: channels of the blocks.
        depth: number of blocks.
        expansion: inner width of the blocks over `width`.
        window: STFT window and transform length in hops.
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
        with torch.device("cpu"):  # the function reads its result's values, which the meta device does not have
            bank = torchaudio.functional.melscale_fbanks(self.n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate)
        self.register_buffer("bank", bank, persistent=False)  # [n_fft / 2 + 1, bands]
        self.embed = nn.Conv1d(bands, width, 3, padding=1)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(
            *[ConvNeXtBlock(width, expansion * width, scale=1 / max(1, depth)) for _ in range(depth)]
        )
        self.out = nn.Linear(width, dim)
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    @property
    def receptive_field(self) -> tuple[int, int]:
        """The spectrum's windows, the first convolution, and the blocks."""
        reach = -(-(self.n_fft // self.hop_length - 1) // 2) + 1 + 3 * len(self.blocks)
        return reach, reach

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            spectrum = same_stft(audio.squeeze(1).float(), self.n_fft, self.hop_length).transpose(1, 2)
            power = spectrum.real.square() + spectrum.imag.square()  # [B, F, n_fft / 2 + 1]
            mel = 0.5 * (power @ self.bank).clamp_min(1e-10).log()  # [B, F, bands]
        x = self.norm(self.embed(mel.transpose(1, 2)).transpose(1, 2)).transpose(1, 2)
        x = self.blocks(x)
        return self.out(self.out_norm(x.transpose(1, 2))).transpose(1, 2)  # [B, D, F]
