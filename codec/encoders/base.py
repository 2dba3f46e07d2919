"""The contract of encoders: whole frames of audio in, one latent a frame out."""

from abc import ABC, abstractmethod

import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.construction import Constructed


class Encoder(Constructed, nn.Module, ABC):
    """Turns audio into latents, one vector of width `dim` per `hop_length` samples.

    Attributes:
        dim: latent width D.
        hop_length: samples of input per frame.
    """

    dim: int
    hop_length: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Number of frames before and after a frame on whose audio its latent depends; None if it depends on all."""
        return None

    def whole_frames(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, T]` as `forward` needs it: with silence appended to a whole number of frames."""
        return F.pad(audio, (0, -audio.shape[-1] % self.hop_length))

    @abstractmethod
    def forward(self, audio: Tensor) -> Tensor:
        """Encode a whole number of frames of float audio in [−1, 1], `[B, 1, F * hop_length]`, to `[B, D, F]`."""
