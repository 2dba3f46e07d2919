"""The contract of encoders: whole frames of audio in, one latent a frame out."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.layers.construction import Constructed
from codec.layers.extents import Extents, run_padded


class Encoder(Constructed, nn.Module, ABC):
    """Turns audio into latents, one vector of width `dim` per `hop_length` samples.

    Attributes:
        dim: latent width D.
        hop_length: samples of input per frame.
        takes_extents: whether `forward` takes the clips' `codec.layers.extents.Extents` as a second argument, which is
            None for a batch without padding, and lets nothing beyond a clip's end change its latents. An encoder that
            does not is run such that nothing does (`codec.layers.extents.run_padded`).
    """

    takes_extents = False
    dim: int
    hop_length: int

    @property
    def receptive_field(self) -> tuple[int, int] | None:
        """Number of frames before and after a frame on whose audio its latent depends; None if it depends on all."""
        return None

    def whole_frames(self, audio: Tensor) -> Tensor:
        """Audio `[B, 1, T]` as `forward` needs it: with silence appended to a whole number of frames."""
        return F.pad(audio, (0, -audio.shape[-1] % self.hop_length))

    def whole_length(self, length: int) -> int:
        """Samples of what `whole_frames` gives for a clip of `length` samples."""
        return self.whole_frames(torch.empty(1, 1, length, device="meta")).shape[-1]

    def encode_clips(self, audio: Tensor, samples: Extents) -> tuple[Tensor, Extents]:
        """Encode clips of unequal lengths, each as if it were alone.

        Args:
            audio: `[B, 1, T]`, silent beyond each clip's end.
            samples: of each clip.

        Returns:
            Latents `[B, D, ⌈T / hop_length⌉]`, zero beyond each clip's end, and the frames of each clip.
        """
        sizes = [-(-count // self.hop_length) for count in (*samples.counts, audio.shape[-1])]
        frames = Extents.of(sizes[:-1], sizes[-1], audio.device)
        whole = [self.whole_length(count) for count in samples.counts]
        padded = F.pad(audio, (0, max(whole) - audio.shape[-1]))
        return frames.fit(run_padded(self, padded, whole, hops=(self.hop_length, 1))), frames

    @abstractmethod
    def forward(self, audio: Tensor) -> Tensor:
        """Encode a whole number of frames of float audio in [−1, 1], `[B, 1, F * hop_length]`, to `[B, D, F]`."""
