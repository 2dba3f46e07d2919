"""The contract of decoders, and of the backbones inside them: one latent a frame in, audio out."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Decoder(nn.Module, ABC):
    """Turns latents into audio, `hop_length` samples per frame.

    Attributes:
        dim: latent width D it expects.
        hop_length: samples of output per frame.
    """

    dim: int
    hop_length: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """How many frames before and after its own the audio of a frame depends on; None where on all."""
        return None

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Decode `[B, D, F]` to float32 audio `[B, 1, F * hop_length]`, not clipped to [−1, 1]."""


class Backbone(nn.Module, ABC):
    """Maps latents `[B, dim, F]` to features `[B, F, width]` for the inverse-STFT head."""

    dim: int
    width: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """How many frames before and after its own the features of a frame depend on; None where on all."""
        return None

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """`[B, dim, F]` to `[B, F, width]`."""
