"""The Vocos decoder (arXiv 2306.00814): a backbone at the frame rate, then an inverse STFT to audio."""

import torch
from torch import Tensor, nn

from codec.decoders.base import Backbone, Decoder
from codec.layers.spectral import same_istft


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

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """The backbone's, and what the inverse STFT's windows reach over."""
        field = self.backbone.receptive_field
        reach = -(-(self.n_fft // self.hop_length - 1) // 2)
        return None if field is None else (field[0] + reach, field[1] + reach)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.head(self.backbone(latents)).transpose(1, 2)  # [B, n_fft + 2, F]
        with torch.autocast(x.device.type, enabled=False):
            log_magnitude, phase = x.float().chunk(2, dim=1)
            # e^88 overflows, and so would its gradient.
            magnitude = log_magnitude.clamp_max(80.0).exp().clamp_max(self.max_magnitude)
            spectrum = torch.polar(magnitude, phase)
            return same_istft(spectrum, self.n_fft, self.hop_length).unsqueeze(1)  # [B, 1, F * hop]
