"""The contract of decoders, and of the backbones inside them: one latent a frame in, audio out."""

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from codec.layers.construction import Constructed
from codec.layers.extents import Extents, run_padded


class Decoder(Constructed, nn.Module, ABC):
    """Turns latents into audio, `hop_length` samples per frame.

    Attributes:
        dim: latent width D.
        hop_length: samples of output per frame.
        takes_extents: whether `forward` takes the clips' `codec.layers.extents.Extents` as a second argument, which is
            None for a batch without padding, and lets nothing beyond a clip's end change its audio. A decoder that does
            not is run such that nothing does (`codec.layers.extents.run_padded`).
    """

    takes_extents = False
    dim: int
    hop_length: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Number of frames before and after a frame on which its audio depends; None if it depends on all."""
        return None

    @property
    def lookahead(self) -> int:
        """Samples by which a stream's audio is late, as later frames add to them; of decoders that stream."""
        return 0

    def finish(self, state: Any) -> Tensor:
        """The last `lookahead` samples of a stream `[B, 1, lookahead]`, with the state after its last step."""
        raise NotImplementedError(f"{type(self).__name__} looks ahead but has no finish()")

    def decode_clips(self, latents: Tensor, frames: Extents) -> Tensor:
        """Decode clips of unequal lengths, each as if it were alone.

        Args:
            latents: `[B, D, F]`, zero beyond each clip's end.
            frames: of each clip.

        Returns:
            `[B, 1, F * hop_length]`, silent beyond each clip's end.
        """
        hop = self.hop_length
        ends = Extents.of([hop * count for count in frames.counts], hop * latents.shape[-1], latents.device)
        return ends.fit(run_padded(self, latents, frames.counts, hops=(1, hop)))

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Decode `[B, D, F]` to float32 audio `[B, 1, F * hop_length]`, not clipped to [−1, 1]."""


class Backbone(Constructed, nn.Module, ABC):
    """Maps latents to features for the inverse-STFT head.

    Attributes:
        dim: latent width D.
        width: of the features.
        takes_extents: as that of `Decoder`.
    """

    takes_extents = False
    dim: int
    width: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Number of frames before and after a frame on which its features depend; None if they depend on all."""
        return None

    @abstractmethod
    def forward(self, latents: Tensor) -> Tensor:
        """Latents `[B, D, F]` to features `[B, F, width]`."""
