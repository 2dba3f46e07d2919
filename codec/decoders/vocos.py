"""The Vocos decoder (arXiv 2306.00814): a backbone at the frame rate, then an inverse STFT to audio."""

from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from codec.decoders.base import Backbone, Decoder
from codec.errors import InvalidValue
from codec.layers.extents import Extents, run_padded
from codec.layers.spectral import Overlap, istft_step, same_istft
from codec.layers.streaming import Streaming, obstacle


class VocosState(NamedTuple):
    """What a stream keeps of the past.

    Attributes:
        backbone: its own.
        overlap: of the inverse STFT's windows.
    """

    backbone: Any
    overlap: Overlap


class VocosDecoder(Decoder, Streaming[VocosState]):
    """A backbone and Vocos's head: magnitude and phase of spectra, then an inverse STFT.

    A linear layer gives m and φ for each frequency; the spectrum is min(exp m, `max_magnitude`) · exp(iφ) (Vocos,
    section 3.3). Window and transform have `window` hops, half of which overlap those of later spectra: with a causal
    backbone the decoder looks (window - 1) / 2 hops ahead. Vocos has a spectrum a frame. With more, the same numbers
    state shorter spectra more often, at no further cost: their phases then change less from one to the next, and
    the look-ahead is shorter.

    Args:
        backbone: maps latents to features; its `dim` is the decoder's.
        hop_length: samples of output per frame (at 50 frames per second 320 for 16 kHz, 480 for 24 kHz).
        window: transform length in hops of the inverse STFT, at least 2.
        spectra: spectra of each frame, which divide `hop_length`; the inverse STFT's hop is `hop_length / spectra`.
        max_magnitude: upper limit of the magnitude, 100 in Vocos and NeuCodec.

    Raises:
        InvalidValue: `window` is below 2, or `spectra` does not divide `hop_length`.
    """

    takes_extents = True

    def __init__(
        self,
        backbone: Backbone,
        hop_length: int = 320,
        *,
        window: int = 4,
        spectra: int = 1,
        max_magnitude: float = 100.0,
    ) -> None:
        super().__init__()
        if window < 2:  # the Hann window is 0 at a hop's edge, and no other frame adds to the sample there
            raise InvalidValue("window", window, "must be at least 2 hops", "take 4, Vocos's, or 2 for less delay")
        if spectra < 1 or hop_length % spectra:
            raise InvalidValue("spectra", spectra, f"must divide the hop_length {hop_length}", "take 1, Vocos's, or 2")
        self.dim, self.hop_length, self.spectra = backbone.dim, hop_length, spectra
        self.step_length = hop_length // spectra
        self.n_fft = window * self.step_length
        self.max_magnitude = max_magnitude
        self.backbone = backbone
        self.head = nn.Linear(backbone.width, spectra * (self.n_fft + 2))

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """The backbone's, extended by the overlap of the inverse STFT's windows; None if that is unbounded."""
        field = self.backbone.receptive_field
        reach = -(-(self.n_fft - self.step_length) // (2 * self.hop_length))
        return None if field is None else (field[0] + reach, field[1] + reach)

    def forward(self, latents: Tensor, extents: Extents | None = None) -> Tensor:
        if extents is None:
            features = self.backbone(latents)
        else:
            features = run_padded(self.backbone, latents, extents.counts, time=1)
        spectrum = self._spectrum(features)
        with torch.autocast(features.device.type, enabled=False):
            within = None if extents is None else extents.repeated(self.spectra)
            return same_istft(spectrum, self.n_fft, self.step_length, within).unsqueeze(1)  # [B, 1, F * hop]

    def _spectrum(self, features: Tensor) -> Tensor:
        """Features `[B, F, width]` to complex64 `[B, n_fft / 2 + 1, F * spectra]`."""
        x = self.by_spectrum(self.head(features)).transpose(1, 2)  # [B, n_fft + 2, F * spectra]
        with torch.autocast(x.device.type, enabled=False):
            log_magnitude, phase = x.float().chunk(2, dim=1)
            return torch.polar(self.magnitude(log_magnitude), phase)

    def by_spectrum(self, x: Tensor) -> Tensor:
        """What the head gives, `[B, F, spectra * (n_fft + 2)]`, as `[B, F * spectra, n_fft + 2]`."""
        return x.unflatten(-1, (self.spectra, self.n_fft + 2)).flatten(1, 2)

    def magnitude(self, log_magnitude: Tensor) -> Tensor:
        """min(exp m, `max_magnitude`) of m of any shape; exp(88) overflows in float32, and so would its gradient."""
        return log_magnitude.clamp_max(80.0).exp().clamp_max(self.max_magnitude)

    @property
    def obstacle(self) -> str:
        return obstacle(self.backbone)

    @property
    def lookahead(self) -> int:
        return (self.n_fft - self.step_length) // 2

    def start(self, batch: int) -> VocosState:
        empty = torch.zeros(batch, self.n_fft - self.step_length, device=self.head.weight.device)
        return VocosState(cast(Streaming[Any], self.backbone).start(batch), Overlap(empty, empty))

    def step(self, x: Tensor, state: VocosState) -> tuple[Tensor, VocosState]:
        """Latents `[B, D, n]` to audio `[B, 1, n * hop_length]`, which is `lookahead` samples late."""
        features, backbone = cast(Streaming[Any], self.backbone).step(x, state.backbone)
        spectrum = self._spectrum(features)
        with torch.autocast(x.device.type, enabled=False):
            audio, overlap = istft_step(spectrum, self.n_fft, self.step_length, state.overlap)
        return audio[:, None], VocosState(backbone, overlap)

    def finish(self, state: VocosState) -> Tensor:
        return state.overlap.normalised()[:, None, : self.lookahead]
