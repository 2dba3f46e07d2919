"""The Vocos decoder (arXiv 2306.00814): a backbone at the frame rate, then an inverse STFT to audio."""

import torch
from torch import Tensor, nn

from codec.decoders.base import Backbone, Decoder
from codec.layers.extents import Extents, run_padded
from codec.layers.spectral import same_istft


class VocosDecoder(Decoder):
    """A backbone and Vocos's head: magnitude and phase of each frame's spectrum, then an inverse STFT.

    A linear layer gives m and φ for each frequency; the spectrum is min(exp m, `max_magnitude`) · exp(iφ) (Vocos,
    section 3.3). Window and transform have `window` hops.

    Args:
        backbone: maps latents to features; its `dim` is the decoder's.
        hop_length: samples of output per frame (at 50 frames per second 320 for 16 kHz, 480 for 24 kHz).
        window: transform length in hops.
        max_magnitude: upper limit of the magnitude, 100 in Vocos and NeuCodec.
    """

    takes_extents = True

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
        """The backbone's, extended by the overlap of the inverse STFT's windows; None if that is unbounded."""
        field = self.backbone.receptive_field
        reach = -(-(self.n_fft // self.hop_length - 1) // 2)
        return None if field is None else (field[0] + reach, field[1] + reach)

    def forward(self, latents: Tensor, extents: Extents | None = None) -> Tensor:
        if extents is None:
            features = self.backbone(latents)
        else:
            features = run_padded(self.backbone, latents, extents.counts, time=1)
        x = self.head(features).transpose(1, 2)  # [B, n_fft + 2, F]
        with torch.autocast(x.device.type, enabled=False):
            log_magnitude, phase = x.float().chunk(2, dim=1)
            # exp(88) overflows in float32, and so would its gradient.
            magnitude = log_magnitude.clamp_max(80.0).exp().clamp_max(self.max_magnitude)
            spectrum = torch.polar(magnitude, phase)
            return same_istft(spectrum, self.n_fft, self.hop_length, extents).unsqueeze(1)  # [B, 1, F * hop]
