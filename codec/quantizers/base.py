"""The contract every quantizer fulfils: latents in, latents and codes out, codes or their probabilities to latents."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

LARGEST_TABLE = 2**20  # entries; the probabilities of a larger codebook fill gigabytes


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
            codes: entries of each codebook; a residual quantizer also takes its first codebooks alone.
            erased: bool like `codes`; an erased code contributes zero before the output projection.
        """

    @property
    def device(self) -> torch.device:
        """Where its parameters and tables are."""
        return next(chain(self.parameters(), self.buffers()), torch.zeros(())).device

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        """For each codebook the sizes of its index's mixed-radix digits, least significant first."""
        return tuple((size,) for size in self.codebook_sizes)

    def decode_mean(self, probabilities: Sequence[Tensor]) -> Tensor:
        """The expected latents, where codes are known by their probabilities: the receiver's posterior mean.

        Equals `decode` where one code of each codebook has probability one. This implementation takes `decode` to be a
        constant plus one contribution from each codebook, which holds for any sum of looked-up vectors.

        Args:
            probabilities: for each codebook float32 `[B, F, size]`, which sums to one over the last axis.

        Returns:
            float32 `[B, D, F]`.

        Raises:
            ValueError: wrong number or shape of tensors, or a codebook of more than 2^20 entries.
        """
        self._check_probabilities(probabilities)
        device = probabilities[0].device
        constant = self._alone(torch.zeros(1, dtype=torch.long, device=device), None)  # [1, D]
        mean = constant
        for k, (size, weights) in enumerate(zip(self.codebook_sizes, probabilities, strict=False)):
            table = self._alone(torch.arange(size, device=device), k) - constant  # [size, D]
            with torch.autocast(device.type, enabled=False):
                mean = mean + weights.float() @ table  # [B, F, D]
        return mean.transpose(1, 2)

    def _alone(self, entries: Tensor, k: int | None) -> Tensor:
        """Float32 latents `[N, D]` of codebook k's entries `[N]`, all other codebooks erased; None erases all."""
        codes = entries.expand(1, len(self.codebook_sizes), -1)
        erased = torch.ones_like(codes, dtype=torch.bool)
        if k is not None:
            erased[:, k] = False
        lookup = codes.masked_fill(erased, 0)
        return self.decode(lookup, erased)[0].T.float()

    def _check_probabilities(self, probabilities: Sequence[Tensor]) -> None:
        if max(self.codebook_sizes) > LARGEST_TABLE:
            raise ValueError(
                f"A codebook of {max(self.codebook_sizes)} entries is too large for a mean over all of them, 2^20 at "
                "most: decode its codes, or split it into several codebooks."
            )
        shapes = [list(p.shape) for p in probabilities]
        lead = shapes[0][:2] if shapes else []
        expected = [[*lead, size] for size in self.codebook_sizes]
        if not 1 <= len(shapes) <= len(expected) or len(lead) != 2 or shapes != expected[: len(shapes)]:
            raise ValueError(
                f"probabilities of shapes {shapes} must be [B, F, size] for codebooks of {list(self.codebook_sizes)}."
            )


def stages_in_use(codes: Tensor, dropout: float) -> Tensor:
    """Quantizer dropout (SoundStream, arXiv 2107.03312): float32 `[B, K]`, 1 for the stages a clip's decoder gets.

    With probability `dropout` a clip gets its first 1 … K − 1 stages, each number as likely, else all K.
    """
    clips, stages = codes.shape[:2]
    kept = torch.randint(1, stages, (clips, 1), device=codes.device)
    short = torch.rand(clips, 1, device=codes.device) < dropout
    return torch.where(short & (torch.arange(stages, device=codes.device) >= kept), 0.0, 1.0)
