"""Finite scalar quantization (Mentzer et al., arXiv 2309.15505), with NeuCodec's double bound (arXiv 2509.09550)."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.layers.construction import Constructed
from codec.quantizers.base import Quantizer, QuantizerOutput
from codec.quantizers.rounding import Rounding, StraightThrough, round_ste


class Bound(Constructed, ABC):
    """Limits each dimension to a range in which rounding gives exactly its number of levels."""

    @abstractmethod
    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        """Map `z [..., d]` to values whose rounding has `levels [d]` outcomes, −⌊L/2⌋ … ⌈L/2⌉ − 1."""


class TanhBound(Bound):
    """The FSQ paper's bound (its appendix A.1): a scaled tanh, shifted by half a step where the level count is even.

    With h = (L − 1) (1 + `margin`) / 2, at most (L − 1) / 2 + ¼, and o = ½ for even L, else 0, it is
    h tanh(z + artanh(o / h)) − o, which maps 0 to 0. For L = 2 that would put all but the largest values on one level
    (artanh(o / h) is 3.8), so there it is h tanh(z) − o, centred on the boundary between the two.

    Args:
        margin: share by which the range exceeds the outermost levels, so that these are reached.
    """

    def __init__(self, margin: float = 1e-3) -> None:
        self.margin = margin

    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        half = torch.minimum((levels - 1) * (1 + self.margin) / 2, (levels - 1) / 2 + 0.25)
        offset = torch.where(levels % 2 == 0, 0.5, 0.0)
        shift = torch.where(levels == 2, 0.0, torch.atanh(offset / half))
        return torch.tanh(z + shift) * half - offset


class DoubleTanhBound(TanhBound):
    """NeuCodec's bound: `TanhBound` applied twice, with which the released weights were trained."""

    def __call__(self, z: Tensor, levels: Tensor) -> Tensor:
        once = super().__call__(z, levels)
        return super().__call__(once + torch.where(levels == 2, 0.5, 0.0), levels)  # of two levels, centred again


class FSQ(Quantizer):
    """One code per frame, the mixed-radix number of d rounded dimensions: code = Σᵢ levelᵢ · Π_{j<i} Lⱼ.

    Args:
        dim: latent width D; projected linearly to and from `len(levels)` dimensions where they differ.
        levels: values per dimension, each at least 2; [4] * 8 gives 16 bits.
        bound: limits each dimension; TanhBound by default, DoubleTanhBound for NeuCodec's weights.
        rounding: in training; StraightThrough by default, or Dithered. Evaluation always rounds.

    Raises:
        InvalidValue: fewer than two levels in a dimension, or more than 2^48 codes.
    """

    compiles = True
    levels_tensor: Tensor
    basis: Tensor

    def __init__(
        self,
        dim: int,
        levels: Sequence[int] = (4,) * 8,
        *,
        bound: Bound | None = None,
        rounding: Rounding | None = None,
    ) -> None:
        super().__init__()
        if not levels or min(levels) < 2:
            raise InvalidValue("levels", list(levels), "must each be at least 2", "take [4, 4, 4, 4]")
        size = math.prod(levels)
        if size > 2**48:
            raise InvalidValue(
                "levels", list(levels), f"make {size} codes, more than 2^48", "use fewer levels or dimensions"
            )
        self.dim, self.levels, self.codebook_sizes = dim, tuple(levels), (size,)
        self.bound = TanhBound() if bound is None else bound
        self.rounding = StraightThrough() if rounding is None else rounding
        basis = [math.prod(levels[:i]) for i in range(len(levels))]
        self.register_buffer("levels_tensor", torch.tensor(levels), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        same = dim == len(levels)
        self.project_in: nn.Module = nn.Identity() if same else nn.Linear(dim, len(levels))
        self.project_out: nn.Module = nn.Identity() if same else nn.Linear(len(levels), dim)

    def forward(self, latents: Tensor) -> QuantizerOutput:
        with torch.autocast(latents.device.type, enabled=False):
            z = self.project_in(latents.float().transpose(1, 2))  # [B, F, d]
            bounded = self.bound(z, self.levels_tensor)
            levels = bounded.detach().nan_to_num().round().long() + self.middle  # codes stay codes in a broken batch
            codes = self.levels_to_codes(levels.transpose(1, 2))  # [B, K, F]
            steps = self.rounding(bounded) if self.training else round_ste(bounded)
            values = self._drop_stages(steps / self.middle, codes)
            z_q = self.project_out(values).transpose(1, 2)  # [B, D, F]
        return QuantizerOutput(z_q, codes, z_q.new_zeros(()))

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
    def middle(self) -> Tensor:
        """⌊L/2⌋ of each dimension `[d]`: the step that becomes zero, and the scale to [−1, 1]."""
        return self.levels_tensor // 2

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the projections."""
        return next((p.dtype for p in self.parameters()), torch.float32)

    def _contributions(self, codes: Tensor) -> Tensor:
        """Each code's term in the values before the output projection: `[B, K, F]` to float32 `[B, K, d, F]`."""
        return ((self.codes_to_levels(codes) - self.middle[:, None]) / self.middle[:, None]).unsqueeze(1)

    def _drop_stages(self, values: Tensor, codes: Tensor) -> Tensor:
        """Values `[B, F, d]` after dropout of stages; unchanged here, as there is a single stage."""
        return values
