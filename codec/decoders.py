"""Vocos-style decoders (arXiv 2306.00814): a backbone at the frame rate, then an inverse STFT to audio."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from codec.layers import ConvNeXtBlock, ResNetBlock, TransformerBlock
from codec.spectral import same_istft


class Decoder(nn.Module, ABC):
    """Turns latents into audio, `hop_length` samples per frame.

    Attributes:
        dim: latent width D it expects.
        hop_length: samples of output per frame.
    """

    dim: int
    hop_length: int

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Decode `[B, D, F]` to float32 audio `[B, 1, F * hop_length]`, not clipped to [−1, 1]."""


class Backbone(nn.Module, ABC):
    """Maps latents `[B, dim, F]` to features `[B, F, width]` for the inverse-STFT head."""

    dim: int
    width: int

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """`[B, dim, F]` to `[B, F, width]`."""


class ConvNeXtBackbone(Backbone):
    """Vocos's own backbone: conv7, LayerNorm, ConvNeXt blocks, LayerNorm."""

    def __init__(self, dim: int = 256, width: int = 384, *, depth: int = 8, expansion: int = 3) -> None:
        super().__init__()
        self.dim, self.width = dim, width
        self.embed = nn.Conv1d(dim, width, 7, padding=3)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.Sequential(*[ConvNeXtBlock(width, expansion * width, scale=1 / depth) for _ in range(depth)])
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.norm(self.embed(latents).transpose(1, 2)).transpose(1, 2)
        return self.out_norm(self.blocks(x).transpose(1, 2))


class TransformerBackbone(Backbone):
    """NeuCodec's backbone: conv7, 2 ResNet blocks, transformer blocks with RoPE over time, 2 ResNet blocks, LayerNorm.

    The defaults are the paper's size, with the head 185.6 M parameters.
    """

    def __init__(
        self, dim: int = 1024, width: int = 1024, *, depth: int = 12, heads: int = 16, dropout: float = 0.1
    ) -> None:
        super().__init__()
        if width % heads or width // heads % 2 or width % 32:
            raise ValueError(f"width {width} must be a multiple of 32 and of 2 x heads ({2 * heads}).")
        self.dim, self.width = dim, width
        self.embed = nn.Conv1d(dim, width, 7, padding=3)
        self.prior = nn.Sequential(*[ResNetBlock(width, dropout=dropout) for _ in range(2)])
        self.blocks = nn.Sequential(*[TransformerBlock(width, heads) for _ in range(depth)])
        self.post = nn.Sequential(*[ResNetBlock(width, dropout=dropout) for _ in range(2)])
        self.out_norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.prior(self.embed(latents)).transpose(1, 2)  # [B, F, C]
        x = self.post(self.blocks(x).transpose(1, 2)).transpose(1, 2)
        return self.out_norm(x)


class VocosDecoder(Decoder):
    """A backbone and Vocos's head: log-magnitude and phase per frame, inverse STFT with n_fft = `window` hops.

    Args:
        backbone: maps latents to features; its `dim` is the decoder's.
        hop_length: samples of output per frame (320 for 16 kHz at 50 Hz, 480 for 24 kHz).
        window: transform length in hops.
        max_magnitude: ceiling on exp(log-magnitude), 100 in Vocos and NeuCodec.
    """

    def __init__(
        self, backbone: Backbone, hop_length: int = 320, *, window: int = 4, max_magnitude: float = 100.0
    ) -> None:
        super().__init__()
        self.dim, self.hop_length, self.n_fft = backbone.dim, hop_length, window * hop_length
        self.max_magnitude = max_magnitude
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, self.n_fft + 2)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.head(self.backbone(latents)).transpose(1, 2)  # [B, n_fft + 2, F]
        with torch.autocast(x.device.type, enabled=False):
            log_magnitude, phase = x.float().chunk(2, dim=1)
            magnitude = log_magnitude.exp().clamp_max(self.max_magnitude)
            spectrum = torch.polar(magnitude, phase)
            return same_istft(spectrum, self.n_fft, self.hop_length).unsqueeze(1)  # [B, 1, F * hop]
