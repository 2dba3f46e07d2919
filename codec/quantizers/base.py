"""The contract of quantizers: latents to codes and quantized latents, codes or their probabilities to latents."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.layers.construction import Constructed

LARGEST_TABLE = 2**20  # entries; the probabilities of a larger codebook fill gigabytes


class QuantizerOutput(NamedTuple):
    """Result of quantizing a batch.

    Attributes:
        latents: quantized latents `[B, D, F]` with a gradient to the input (straight-through).
        codes: int64 `[B, K, F]`, codebook k's entries in 0 … `codebook_sizes[k]` − 1.
        loss: scalar added to the generator's loss (commitment); zero where the method has none.
    """

    latents: Tensor
    codes: Tensor
    loss: Tensor


class Quantizer(Constructed, nn.Module, ABC):
    """Turns latents into codes and back.

    A subclass needs `forward` and `decode`; one whose codes have an inner structure also states their `digits`.

    Attributes:
        dim: latent width D.
        codebook_sizes: entries in each of the K codebooks.
        compiles: whether `torch.compile` takes a training pass as it is, without draws or branches on the host.
        averages: whether means and distances of latents say something; not where they are the numbers of codes.
    """

    compiles = False
    averages = True
    dim: int
    codebook_sizes: tuple[int, ...]

    @abstractmethod
    def forward(self, latents: Tensor) -> QuantizerOutput:
        """Quantize `[B, D, F]`, in float32 also under autocast."""

    @abstractmethod
    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        """Look codes up: int64 `[B, K, F]` to latents `[B, D, F]`.

        Args:
            codes: entries of each codebook; a residual quantizer also takes its first codebooks alone.
            erased: bool like `codes`; an erased code contributes zero before the output projection, whose bias stays.
        """

    @property
    def device(self) -> torch.device:
        """Device of the quantizer's parameters and tables; the CPU if it has none."""
        return next(chain(self.parameters(), self.buffers()), torch.zeros(())).device

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        """For each codebook the sizes of its index's mixed-radix digits, least significant first."""
        return tuple((size,) for size in self.codebook_sizes)

    def decode_mean(self, probabilities: Sequence[Tensor]) -> Tensor:
        """The expected latents E[z] = Σ P(code) · z(code) of codes that are known by their probabilities.

        Equals `decode` where one code of each codebook has probability one. This implementation assumes that `decode`
        is a constant plus one contribution from each codebook, as in any sum of looked-up vectors.

        Args:
            probabilities: for each codebook float32 `[B, F, size]`, which sums to one over the last axis.

        Returns:
            float32 `[B, D, F]`.

        Raises:
            InvalidValue: wrong number or shape of tensors, or a codebook of more than 2^20 entries.
        """
        self._check_probabilities(probabilities)
        device, stages = probabilities[0].device, len(probabilities)
        constant = self.entry_latents(torch.zeros(1, dtype=torch.long, device=device), None, stages=stages)  # [1, D]
        mean = constant
        for k, (size, weights) in enumerate(zip(self.codebook_sizes, probabilities, strict=False)):
            table = self.entry_latents(torch.arange(size, device=device), k, stages=stages) - constant  # [size, D]
            with torch.autocast(device.type, enabled=False):
                mean = mean + weights.float() @ table  # [B, F, D]
        return mean.transpose(1, 2)

    def decode_digits(self, probabilities: Sequence[Sequence[Tensor] | None]) -> Tensor:
        """The expected latents of codes whose digits are independent and known by their probabilities.

        Args:
            probabilities: for each codebook, or each of the first ones, and each of its `digits`, float `[B, F, L]`,
                which sums to one over the last axis; None for a codebook whose codes are erased.

        Returns:
            float32 `[B, D, F]`.

        Raises:
            InvalidValue: a codebook of several digits has more than 2^20 entries.
        """
        first = next(digits for digits in probabilities if digits is not None)[0]
        zero, stages = torch.zeros(1, dtype=torch.long, device=first.device), len(probabilities)
        constant = self.entry_latents(zero, None, stages=stages)  # [1, D]
        mean = constant.expand(*first.shape[:2], -1)  # [B, F, D]
        for k, digits in enumerate(probabilities):
            if digits is not None:
                joint = joint_probabilities(digits).float()  # [B, F, size]
                entries = torch.arange(joint.shape[-1], device=first.device)
                table = self.entry_latents(entries, k, stages=stages) - constant
                with torch.autocast(first.device.type, enabled=False):
                    mean = mean + joint @ table
        return mean.transpose(1, 2)

    def entry_latents(self, entries: Tensor, codebook: int | None, *, stages: int | None = None) -> Tensor:
        """Latents float32 `[N, D]` of one codebook's entries `[N]` with all other codebooks erased; None erases all.

        `stages` is the number of first codebooks that there are; None for all.
        """
        codes = entries.expand(1, stages or len(self.codebook_sizes), -1)
        erased = torch.ones_like(codes, dtype=torch.bool)
        if codebook is not None:
            erased[:, codebook] = False
        return self.decode(codes.masked_fill(erased, 0), erased)[0].T.float()

    def _check_probabilities(self, probabilities: Sequence[Tensor]) -> None:
        if max(self.codebook_sizes) > LARGEST_TABLE:
            raise InvalidValue(
                f"A codebook of {max(self.codebook_sizes)} entries",
                allowed="is too large for a mean over all of them, 2^20 at most",
                remedy="decode its codes, or split it into several codebooks",
            )
        shapes = [list(p.shape) for p in probabilities]
        lead = shapes[0][:2] if shapes else []
        expected = [[*lead, size] for size in self.codebook_sizes]
        if not 1 <= len(shapes) <= len(expected) or len(lead) != 2 or shapes != expected[: len(shapes)]:
            raise InvalidValue(
                "probabilities of shapes", shapes, f"must be [B, F, size] for codebooks of {list(self.codebook_sizes)}"
            )


def stages_in_use(codes: Tensor, dropout: float) -> Tensor:
    """Draw quantizer dropout (SoundStream, arXiv 2107.03312): float32 `[B, K]`, 1 for each stage that is decoded.

    With probability `dropout` a clip of codes `[B, K, F]` keeps its first k stages, k uniform in 1 … K − 1, else all K.
    """
    clips, stages = codes.shape[:2]
    kept = torch.randint(1, stages, (clips, 1), device=codes.device)
    short = torch.rand(clips, 1, device=codes.device) < dropout
    return torch.where(short & (torch.arange(stages, device=codes.device) >= kept), 0.0, 1.0)


def joint_probabilities(digits: Sequence[Tensor]) -> Tensor:
    """P(code) `[..., Π L]` of independent digits with probabilities `[..., L]`, the least significant first.

    Raises:
        InvalidValue: more than 2^20 codes.
    """
    joint = digits[0]
    for further in digits[1:]:
        size = joint.shape[-1] * further.shape[-1]
        if size > LARGEST_TABLE:
            raise InvalidValue(
                f"A codebook of {size} entries or more",
                allowed="is too large for their probabilities, 2^20 at most",
                remedy="use hard decisions, or an index map that keeps each digit's bits apart",
            )
        joint = (further[..., :, None] * joint[..., None, :]).flatten(-2)
    return joint
