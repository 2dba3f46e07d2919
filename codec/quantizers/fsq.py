"""Finite scalar quantization (Mentzer et al., arXiv 2309.15505), with NeuCodec's double bound (arXiv 2509.09550)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from codec.quantizers.base import Quantizer, QuantizerOutput


def round_ste(x: Tensor) -> Tensor:
    """Round to the nearest integer with gradient one (straight-through)."""
    return x + (x.round() - x).detach()


class Bound(ABC):
    """Squashes each dimension so that rounding yields exactly its number of levels."""

    @abstractmethod
    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        """Map `z [..., d]` to values whose rounding has `levels [d]` outcomes, −⌊L/2⌋ … ⌈L/2⌉ − 1."""


class TanhBound(Bound):
    """The FSQ paper's bound (its appendix A.1): a scaled tanh, shifted by half a step where the level count is even."""

    def __init__(self, margin: float = 1e-3) -> None:
        self.margin = margin

    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        half = (levels - 1) * (1 + self.margin) / 2
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        shift = torch.atanh(offset / half)
        return torch.tanh(z + shift) * half - offset


class DoubleTanhBound(TanhBound):
    """NeuCodec's bound: the released weights were trained with the tanh applied twice."""

    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        return super().__call__(super().__call__(z, levels), levels)


class FSQ(Quantizer):
    """One code per frame, the mixed-radix number of d rounded dimensions: index = Σ levelᵢ · Π_{j<i} Lⱼ.

    Args:
        dim: latent width D; projected linearly to and from `len(levels)` dimensions where they differ.
        levels: values per dimension, each at least 2; [4] * 8 gives 16 bits.
        bound: TanhBound, or DoubleTanhBound for NeuCodec's weights.

    Raises:
        ValueError: fewer than two levels in a dimension, or more than 2^48 codes.
    """

    levels_tensor: Tensor
    basis: Tensor

    def __init__(self, dim: int, levels: Sequence[int] = (4,) * 8, *, bound: Bound | None = None) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise ValueError(f"levels {list(levels)} must each be at least 2, for example [4, 4, 4, 4].")
        size = math.prod(levels)
        if size > 2**48:
            raise ValueError(f"levels {list(levels)} make {size} codes, more than 2^48: use fewer dimensions.")
        self.dim, self.levels, self.codebook_sizes = dim, tuple(levels), (size,)
        self.bound = TanhBound() if bound is None else bound
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels_tensor", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        same = dim == len(levels)
        self.project_in: nn.Module = nn.Identity() if same else nn.Linear(dim, len(levels))
        self.project_out: nn.Module = nn.Identity() if same else nn.Linear(len(levels), dim)

    def forward(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            z = self.project_in(latents.float().transpose(1, 2))  # [B, F, d]
            steps = round_ste(self.bound(z, self.levels_tensor))
            z_q = self.project_out(steps / self.middle).transpose(1, 2)  # [B, D, F]
            levels = steps.detach().round().long() + self.middle
            codes = (levels * self.basis).sum(-1).unsqueeze(1)  # [B, 1, F]
        return QuantizerOutput(z_q, codes, z_q.new_zeros(()))

    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            values = (self.codes_to_levels(codes) - self.middle[:, None]) / self.middle[:, None]  # [B, d, F]
            if erased is not None:
                values = values.masked_fill(erased, 0.0)
            return self.project_out(values.to(self.dtype).transpose(1, 2)).transpose(1, 2)  # [B, D, F]

    def codes_to_levels(self, codes: Tensor) -> Tensor:
        """Split codes into the level of each dimension: int64 `[B, 1, F]` to `[B, d, F]`, in 0 … Lᵢ − 1."""
        return codes // self.basis[:, None] % self.levels_tensor[:, None]

    def levels_to_codes(self, levels: Tensor) -> Tensor:
        """Inverse of `codes_to_levels`: int64 `[B, d, F]` to `[B, 1, F]`."""
        return (levels * self.basis[:, None]).sum(1, keepdim=True)

    @property
    def middle(self) -> Tensor:
        """⌊L/2⌋ of each dimension `[d]`: the step that becomes zero, and the scale to [−1, 1]."""
        return self.levels_tensor // 2

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the projections."""
        return next((p.dtype for p in self.parameters()), torch.float32)
