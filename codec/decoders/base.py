"""The contract of decoders, and of the backbones inside them: one latent a frame in, audio out."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from codec.layers.construction import Constructed


class Decoder(Constructed, nn.Module, ABC):
    """Turns latents into audio, `hop_length` samples per frame.

    Attributes:
        dim: latent width D.
        hop_length: samples of output per frame.
    """

    dim: int
    hop_length: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Number of frames before and after a frame on which its audio depends; None if it depends on all."""
        return None

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Decode `[B, D, F]` to float32 audio `[B, 1, F * hop_length]`, not clipped to [−1, 1]."""


class Backbone(Constructed, nn.Module, ABC):
    """Maps latents to features for the inverse-STFT head.

    Attributes:
        dim: latent width D.
        width: of the features.
    """

    dim: int
    width: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Number of frames before and after a frame on which its features depend; None if they depend on all."""
        return None

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, F]` to features `[B, F, width]`."""
