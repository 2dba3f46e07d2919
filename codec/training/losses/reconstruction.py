"""Reconstruction losses between the codec's audio and its target, in float32: multi-scale mel."""

import warnings
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
import torchaudio
from torch import Tensor

from codec.codec import NeuralCodec
from codec.errors import InvalidValue, counted
from codec.layers.padding import reflect_ends
from codec.layers.spectral import frame_spectra
from codec.training.losses.base import Loss, LossInputs


class ReconstructionLoss(Loss):
    """A distance of two signals; validation logs it too, as `val/NAME`.

    Args:
        sample_rate: of both signals in Hz; must be the codec's output rate.
        weight: factor in the generator's loss.

    Raises:
        InvalidValue: the weight is negative; in `attach`, the codec's output rate is another.
    """

    def __init__(self, sample_rate: int = 16_000, *, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.sample_rate = sample_rate

    def attach(self, codec: NeuralCodec) -> None:
        if self.sample_rate != codec.output_sample_rate:
            raise InvalidValue(
                f"reconstruction_loss expects {self.sample_rate} Hz, the codec puts out",
                f"{codec.output_sample_rate} Hz",
                remedy="set the loss's sample_rate to that",
            )

    def forward(self, inputs: LossInputs) -> Tensor:
        return self.distance(inputs.output.audio, inputs.target)

    @abstractmethod
    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        """Distance of two `[B, 1, T]` signals, a float32 scalar."""


class MultiScaleMelLoss(ReconstructionLoss):
    """Sum over scales of the L1 distance of log10 mels (DAC, arXiv 2306.06546, section 3.4; XCodec2's scales).

    Args:
        sample_rate: of both signals in Hz.
        windows: STFT windows in samples; the hop is a quarter of each.
        mels: mel bands at each window (Slaney scale and norm).
        floor: smallest mel magnitude; smaller ones are raised to it before the logarithm.
        weight: factor in the generator's loss (15 in X-Codec 2).

    Raises:
        InvalidValue: `windows` and `mels` differ in length, or the weight is negative.
    """

    name = "mel"

    def __init__(
        self,
        sample_rate: int = 16_000,
        windows: Sequence[int] = (32, 64, 128, 256, 512, 1024, 2048),
        *,
        mels: Sequence[int] = (5, 10, 20, 40, 80, 160, 320),
        floor: float = 1e-5,
        weight: float = 15.0,
    ) -> None:
        super().__init__(sample_rate, weight=weight)
        if len(windows) != len(mels):
            raise InvalidValue(
                f"{counted(len(windows), 'window')} and {counted(len(mels), 'mel')}",
                remedy="give one number of mel bands per window",
            )
        self.windows, self.floor = tuple(windows), floor
        for window, bands in zip(windows, mels, strict=True):
            with warnings.catch_warnings():  # the published scales leave some low bands empty at short windows
                warnings.filterwarnings("ignore", message="At least one mel filterbank")
                bank = torchaudio.functional.melscale_fbanks(
                    window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate, "slaney", "slaney"
                )
            self.register_buffer(f"bank_{window}", bank.T, persistent=False)  # [bands, window / 2 + 1]
            self.register_buffer(f"window_{window}", torch.hann_window(window), persistent=False)

    def distance(self, fake: Tensor, real: Tensor) -> Tensor:
        with torch.autocast(fake.device.type, enabled=False):
            fake, real = fake.float().squeeze(1), real.float().squeeze(1)
            distances = [F.l1_loss(self._log_mel(fake, w), self._log_mel(real, w)) for w in self.windows]
            return torch.stack(distances).sum()

    def _log_mel(self, audio: Tensor, window: int) -> Tensor:
        if audio.shape[-1] <= window // 2:  # shorter than the reflection: pad with silence
            audio = F.pad(audio, (0, window // 2 + 1 - audio.shape[-1]))
        taper = self.get_buffer(f"window_{window}")
        audio = audio.view_as(audio)  # the gradients of one window are summed before those of several
        audio = reflect_ends(audio, window // 2, window // 2)  # as center=True, whose gradient CUDA adds in any order
        spectrum = torch.view_as_real(frame_spectra(audio, taper, window // 4))
        magnitude = spectrum.square().sum(-1).clamp_min(1e-14).sqrt().transpose(1, 2)  # [B, window / 2 + 1, frames]
        return (self.get_buffer(f"bank_{window}") @ magnitude).clamp_min(self.floor).log10()
