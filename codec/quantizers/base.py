"""The contract every quantizer fulfils: latents in, latents and codes out, codes back to latents."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn


class QuantizerOutput(NamedTuple):
    """What a quantizer returns in training.

    Attributes:
        latents: quantized latents `[B, D, F]` with a gradient to the input (straight-through).
        codes: int64 `[B, K, F]`, codebook k's entries in 0 … `codebook_sizes[k]` − 1.
        loss: scalar added to the generator's loss (commitment); zero where the method has none.
    """

    latents: Tensor
    codes: Tensor
    loss: Tensor


class Quantizer(nn.Module, ABC):
    """Turns latents into codes and back.

    Attributes:
        dim: latent width D.
        codebook_sizes: entries in each of the K codebooks.
    """

    dim: int
    codebook_sizes: tuple[int, ...]

    @abstractmethod
    def forward(self, latents: Tensor) -> QuantizerOutput:
        """Quantize `[B, D, F]`, in float32 whatever the autocast."""

    @abstractmethod
    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        """Look codes up: int64 `[B, K, F]` to latents `[B, D, F]`.

        Args:
            codes: entries of each codebook.
            erased: bool `[B, K, F]`; an erased code contributes zero before the output projection.
        """
