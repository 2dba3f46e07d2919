"""What scalar quantizers share: codes of digits, one a dimension, whose values enter the latent by an affine map."""

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.quantizers.base import Quantizer


class ScalarQuantizer(Quantizer):
    """One code per frame, the mixed-radix number of d digits: code = Σᵢ levelᵢ · Π_{j<i} Lⱼ.

    Latents are projected linearly to d dimensions, where a subclass quantizes each by itself, and back. A subclass
    needs `forward` and `_contributions`, which is affine in the digits.

    Args:
        dim: latent width D; projected linearly to and from `len(levels)` dimensions where they differ.
        levels: values per dimension, each at least 2.

    Raises:
        InvalidValue: fewer than two levels in a dimension, or more than 2^48 codes.
    """

    levels_tensor: Tensor
    basis: Tensor

    def __init__(self, dim: int, levels: Sequence[int]) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise InvalidValue("levels", list(levels), "must each be at least 2", "take [4, 4, 4, 4]")
        size = math.prod(levels)
        if size > 2**48:
            raise InvalidValue(
                "levels", list(levels), f"make {size} codes, more than 2^48", "use fewer levels or dimensions"
            )
        self.dim, self.levels, self.codebook_sizes = dim, tuple(levels), (size,)
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels_tensor", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        same = dim == len(levels)
        self.project_in: nn.Module = nn.Identity() if same else nn.Linear(dim, len(levels))
        self.project_out: nn.Module = nn.Identity() if same else nn.Linear(len(levels), dim)

    @abstractmethod
    def _contributions(self, codes: Tensor) -> Tensor:
        """Each code's term in the values before the output projection: `[B, K, F]` to float32 `[B, K, d, F]`."""

    def decode(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            values = self._contributions(codes)  # [B, K, d, F]
            if erased is not None:
                values = values.masked_fill(erased.unsqueeze(2), 0.0)
            return self.project_out(values.sum(1).to(self.dtype).transpose(1, 2)).transpose(1, 2)  # [B, D, F]

    def decode_mean(self, probabilities: Sequence[Tensor]) -> Tensor:
        self._check_probabilities(probabilities)
        device = probabilities[0].device
        with torch.autocast(device.type, enabled=False):
            entries = torch.arange(self.codebook_sizes[0], device=device).expand(1, len(probabilities), -1)
            tables = self._contributions(entries)[0]  # [K, d, size]
            means = [F.linear(p.float(), table) for p, table in zip(probabilities, tables, strict=True)]
            return self.project_out(torch.stack(means).sum(0).to(self.dtype)).transpose(1, 2)  # [B, D, F]

    def decode_digits(self, probabilities: Sequence[Sequence[Tensor] | None]) -> Tensor:
        first = next(digits for digits in probabilities if digits is not None)[0]
        with torch.autocast(first.device.type, enabled=False):
            ends = torch.stack((torch.zeros_like(self.basis[0]), self.basis.sum()))  # all digits 0, and all 1
            terms = self._contributions(ends.expand(1, len(probabilities), -1))[0].to(
                first
            )  # [K, d, 2], affine in digits
            values = first.new_zeros(*first.shape[:2], len(self.levels))  # [B, F, d]
            for digits, (origin, one) in zip(probabilities, zip(*terms.unbind(-1), strict=True), strict=True):
                if digits is not None:
                    means = [p @ torch.arange(p.shape[-1], device=p.device, dtype=p.dtype) for p in digits]
                    values = values + origin + (one - origin) * torch.stack(means, -1)
            return self.project_out(values.to(self.dtype)).transpose(1, 2)  # [B, D, F]

    def codes_to_levels(self, codes: Tensor) -> Tensor:
        """Split codes into the level of each dimension: int64 `[B, K, F]` to `[B, d, F]`."""
        return codes // self.basis[:, None] % self.levels_tensor[:, None]

    def levels_to_codes(self, levels: Tensor) -> Tensor:
        """Inverse of `codes_to_levels`: int64 `[B, d, F]` to `[B, K, F]`."""
        return (levels * self.basis[:, None]).sum(1, keepdim=True)

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        """The levels of each dimension, once for each codebook."""
        return (self.levels,) * len(self.codebook_sizes)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the projections."""
        return next((p.dtype for p in self.parameters()), torch.float32)
