"""Encoders on a spectrogram at the frame rate: log-magnitude STFT or log-mel bands, then ConvNeXt blocks."""

from abc import abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn

from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.layers.blocks import ConvNeXtBlock, FrameConv
from codec.layers.spectral import log_magnitude, past_stft, same_stft
from codec.layers.streaming import States, Streaming, Tail, start_layers, step_layers


class SpectrumState(NamedTuple):
    """What a causal encoder on spectra keeps of the past.

    Attributes:
        audio: samples `[B, n_fft - hop]` that the next frame's window reaches back to.
        embed: frames of the first convolution.
        blocks: of each block.
    """

    audio: Tail
    embed: Tail
    blocks: States


class SpectrumEncoder(Encoder, Streaming[SpectrumState]):
    """What encoders on spectra share: conv3, LayerNorm, ConvNeXt blocks, LayerNorm and a linear layer.

    Args:
        dim: latent width D.
        hop_length: samples per frame.
        bands: features of a frame, that `features` gives.
        width: channels of the blocks.
        depth: number of blocks.
        expansion: inner width of the blocks over `width`.
        window: STFT window and transform length in hops.
        mean: subtracted from the features.
        std: the features are divided by it.
        causal: see `SpectralEncoder`.

    Raises:
        InvalidValue: `std` is not above 0.
    """

    def __init__(
        self,
        dim: int,
        hop_length: int,
        *,
        bands: int,
        width: int,
        depth: int,
        expansion: int,
        window: int,
        mean: float,
        std: float,
        causal: bool,
    ) -> None:
        super().__init__()
        if not 0 < std < float("inf"):
            raise InvalidValue("std", std, "must be a number above 0", "take 1 to leave the features as they are")
        self.mean, self.std = mean, std
        self.dim, self.hop_length, self.n_fft, self.causal = dim, hop_length, window * hop_length, causal
        self.embed = FrameConv(bands, width, 3, causal=causal)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(
            *[ConvNeXtBlock(width, expansion * width, scale=1 / max(1, depth), causal=causal) for _ in range(depth)]
        )
        self.out = nn.Linear(width, dim)
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    @property
    def receptive_field(self) -> tuple[int, int]:
        """The spectrum's windows, the first convolution, and the blocks."""
        hops = self.n_fft // self.hop_length - 1
        if self.causal:
            return hops + 2 + 6 * len(self.blocks), 0
        reach = -(-hops // 2) + 1 + 3 * len(self.blocks)
        return reach, reach

    @abstractmethod
    def features(self, spectrum: Tensor) -> Tensor:
        """Spectra, complex64 `[B, n_fft / 2 + 1, F]`, to what the layers take, float32 `[B, bands, F]`."""

    def forward(self, audio: Tensor) -> Tensor:
        with torch.autocast(audio.device.type, enabled=False):
            samples = audio.squeeze(1).float()
            if self.causal:
                spectrum = past_stft(F.pad(samples, (self.n_fft - self.hop_length, 0)), self.n_fft, self.hop_length)
            else:
                spectrum = same_stft(samples, self.n_fft, self.hop_length)
            features = self.features(spectrum)
        return self.encode_features(features)  # [B, D, F]

    def encode_features(self, features: Tensor) -> Tensor:
        """What `features` gives, `[B, bands, F]`, to latents `[B, D, F]`."""
        x = self.norm(self.embed(self._standardised(features)).transpose(1, 2)).transpose(1, 2)
        return self._latents(self.blocks(x))

    def start(self, batch: int) -> SpectrumState:
        audio = self.out.weight.new_zeros(batch, self.n_fft - self.hop_length)
        return SpectrumState(Tail(audio), self.embed.start(batch), start_layers(self.blocks, batch))

    def step(self, x: Tensor, state: SpectrumState) -> tuple[Tensor, SpectrumState]:
        """Whole frames of audio `[B, 1, n * hop_length]` to their latents `[B, D, n]`."""
        with torch.autocast(x.device.type, enabled=False):
            samples, audio = state.audio.followed_by(x.squeeze(1).float())
            features = self.features(past_stft(samples, self.n_fft, self.hop_length))
        x, embed = self.embed.step(self._standardised(features), state.embed)
        x = self.norm(x.transpose(1, 2)).transpose(1, 2)
        x, blocks = step_layers(self.blocks, x, state.blocks)
        return self._latents(x), SpectrumState(audio, embed, blocks)

    def _standardised(self, features: Tensor) -> Tensor:
        return (features - self.mean) / self.std

    def _latents(self, x: Tensor) -> Tensor:
        return self.out(self.out_norm(x.transpose(1, 2))).transpose(1, 2)


class SpectralEncoder(SpectrumEncoder):
    """Log-magnitude STFT and ConvNeXt blocks at the frame rate, at a few percent of AcousticEncoder's cost.

    Args:
        dim: latent width D.
        hop_length: samples per frame.
        width: channels of the blocks.
        depth: number of blocks.
        window: STFT window and transform length in hops.
        mean: of the log magnitudes, which is subtracted from them; about -4 for speech.
        std: of the log magnitudes, by which they are divided; about 2.3 for speech.
        causal: a frame depends on its own and earlier samples only, for streaming; its window ends with it.

    Raises:
        InvalidValue: `std` is not above 0.
    """

    def __init__(
        self,
        dim: int = 256,
        hop_length: int = 320,
        *,
        width: int = 256,
        depth: int = 4,
        window: int = 3,
        mean: float = 0.0,
        std: float = 1.0,
        causal: bool = False,
    ) -> None:
        bands = window * hop_length // 2 + 1
        super().__init__(
            dim,
            hop_length,
            bands=bands,
            width=width,
            depth=depth,
            expansion=3,
            window=window,
            mean=mean,
            std=std,
            causal=causal,
        )

    def features(self, spectrum: Tensor) -> Tensor:
        return log_magnitude(spectrum)


class MelEncoder(SpectrumEncoder):
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
        mean: of the log mels, which is subtracted from them.
        std: of the log mels, by which they are divided.
        causal: a frame depends on its own and earlier samples only, for streaming; its window ends with it.

    Raises:
        InvalidValue: `std` is not above 0.
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
        mean: float = 0.0,
        std: float = 1.0,
        causal: bool = False,
    ) -> None:
        super().__init__(
            dim,
            hop_length,
            bands=bands,
            width=width,
            depth=depth,
            expansion=expansion,
            window=window,
            mean=mean,
            std=std,
            causal=causal,
        )
        with torch.device("cpu"):  # the function reads its result's values, which the meta device does not have
            bank = torchaudio.functional.melscale_fbanks(self.n_fft // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate)
        self.register_buffer("bank", bank, persistent=False)  # [n_fft / 2 + 1, bands]

    def features(self, spectrum: Tensor) -> Tensor:
        spectrum = spectrum.transpose(1, 2)
        power = spectrum.real.square() + spectrum.imag.square()  # [B, F, n_fft / 2 + 1]
        mel = 0.5 * (power @ self.bank).clamp_min(1e-10).log()  # [B, F, bands]
        return mel.transpose(1, 2)
