"""Losses: multi-scale mel, adversarial (least squares, hinge) and feature matching, all in float32."""

import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor, nn


class MultiScaleMelLoss(nn.Module):
    """Sum over scales of the L1 distance of log10 mels (DAC, arXiv 2306.06546, section 3.4; XCodec2's scales).

    Args:
        sample_rate: of both signals in Hz.
        windows: STFT windows in samples; the hop is a quarter of each.
        mels: mel bands at each window (Slaney scale and norm).
        floor: magnitudes below it count as it.

    Raises:
        ValueError: `windows` and `mels` differ in length.
    """

    def __init__(
        self,
        sample_rate: int = 16_000,
        windows: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048),
        *,
        mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
        floor: float = 1e-5,
    ) -> None:
        super().__init__()
        if len(windows) != len(mels):
            raise ValueError(f"{len(windows)} windows and {len(mels)} mels: give one number of mel bands per window.")
        self.sample_rate, self.windows, self.floor = sample_rate, tuple(windows), floor
        for window, bands in zip(windows, mels, strict=True):
            with warnings.catch_warnings():  # the published scales leave some low bands empty at short windows
                warnings.filterwarnings("ignore", message="At least one mel filterbank")
                bank = torchaudio.functional.melscale_fbanks(
                    window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, "slaney", "slaney"
                )
            self.register_buffer(f"bank_{window}", bank.T, persistent=False)  # [bands, window / 2 + 1]
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)

    def forward(self, fake: Tensor, real: Tensor) -> Tensor:
        """Distance of two `[B, 1, T]` signals, a scalar."""
        with torch.autocast(fake.device.type, enabled=False):
            fake, real = fake.float().squeeze(1), real.float().squeeze(1)
            distances = [F.l1_loss(self._log_mel(fake, w), self._log_mel(real, w)) for w in self.windows]
            return torch.stack(distances).sum()

    def _log_mel(self, audio: Tensor, window: int) -> Tensor:
        if audio.shape[-1] <= window // 2:  # shorter than the reflection: pad with silence
            audio = F.pad(audio, (0, window // 2 + 1 - audio.shape[-1]))
        taper = self.get_buffer(f"window_{window}")
        spectrum = torch.view_as_real(torch.stft(audio, window, window // 4, window=taper, return_complex=True))
        magnitude = spectrum.square().sum(-1).clamp_min(1e-14).sqrt()  # [B, window / 2 + 1, frames]
        return (self.get_buffer(f"bank_{window}") @ magnitude).clamp_min(self.floor).log10()


class AdversarialLoss(ABC):
    """The two sides' losses given one score map per sub-discriminator, summed over sub-discriminators."""

    def discriminator(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
        """What the discriminators minimise: scores of any shape for real and for generated audio."""
        return torch.stack([self.real(r.float()) + self.fake(f.float()) for r, f in zip(real, fake, strict=True)]).sum()

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """What the generator minimises."""
        return torch.stack([self.fooled(f.float()) for f in fake]).sum()

    @abstractmethod
    def real(self, score: Tensor) -> Tensor:
        """The discriminator's loss on real audio."""

    @abstractmethod
    def fake(self, score: Tensor) -> Tensor:
        """The discriminator's loss on generated audio."""

    @abstractmethod
    def fooled(self, score: Tensor) -> Tensor:
        """The generator's loss on generated audio."""


class LeastSquaresLoss(AdversarialLoss):
    """LSGAN (arXiv 1611.04076, eq. 9): real towards 1, generated towards 0, the generator towards 1."""

    def real(self, score: Tensor) -> Tensor:
        return (1 - score).square().mean()

    def fake(self, score: Tensor) -> Tensor:
        return score.square().mean()

    def fooled(self, score: Tensor) -> Tensor:
        return (1 - score).square().mean()


class HingeLoss(AdversarialLoss):
    """Hinge loss (arXiv 1705.02894, as used by EnCodec): margins of one, the generator raises the score."""

    def real(self, score: Tensor) -> Tensor:
        return F.relu(1 - score).mean()

    def fake(self, score: Tensor) -> Tensor:
        return F.relu(1 + score).mean()

    def fooled(self, score: Tensor) -> Tensor:
        return -score.mean()


def feature_matching_loss(real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]]) -> Tensor:
    """Mean L1 distance of each layer's features, summed over layers and sub-discriminators (HiFi-GAN, eq. 5)."""
    pairs = [(r, f) for rs, fs in zip(real, fake, strict=True) for r, f in zip(rs, fs, strict=True)]
    return torch.stack([F.l1_loss(f.float(), r.detach().float()) for r, f in pairs]).sum()
