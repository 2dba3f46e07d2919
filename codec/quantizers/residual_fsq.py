"""Residual finite scalar quantization: several codes a frame, each refining the levels of those before it."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codec.errors import InvalidValue
from codec.quantizers.base import stages_in_use
from codec.quantizers.codes import check_stages
from codec.quantizers.fsq import FSQ, Bound
from codec.quantizers.rounding import Rounding


class ResidualFSQ(FSQ):
    """FSQ in K stages: each divides every cell of the stage before it into L equal cells, in each dimension.

    Values are projected and bounded once. The first stage rounds them to L levels; every further one rounds the
    remaining difference, less than one cell, to the centres of L parts of that cell. K stages of L levels thus form a
    uniform quantizer of Lᴷ levels, all of which the bound reaches, with level = Σₖ digitₖ · Lᴷ⁻ᵏ: rounding to the
    finest grid gives the digits of all stages. One stage is FSQ. The first k codes name the cells after k stages and
    decode to the centres of those cells.

    Residual FSQ in vector-quantize-pytorch, which NeuCodec uses with a single stage, instead bounds each residual
    again, magnified by (L − 1)ᵏ, so that its cells are unequal and overlap. StableCodec (arXiv 2411.19842) splits a
    trained FSQ into stages much as here.

    Args:
        dim: latent width D; projected linearly to and from `len(levels)` dimensions where they differ.
        levels: values per dimension and stage, each at least 2; two stages of [4] * 8 give 32 bits.
        stages: K, codes per frame.
        bound: limits values to the range of the Lᴷ levels; TanhBound by default, or DoubleTanhBound.
        rounding: in training, to the finest grid; StraightThrough by default, or Dithered. Evaluation always rounds.
        dropout: probability per training clip of decoding only a random number of stages from 1 to K − 1, so that one
            model serves several bit rates.

    Raises:
        InvalidValue: no stage, more than 2^16 levels of a dimension in all stages together, or a `dropout` outside
            [0, 1]; see also FSQ.
    """

    radix: Tensor
    weight: Tensor

    def __init__(
        self,
        dim: int,
        levels: Sequence[int] = (4,) * 8,
        *,
        stages: int = 2,
        bound: Bound | None = None,
        rounding: Rounding | None = None,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(dim, levels, bound=bound, rounding=rounding)
        if stages < 1 or max(levels) ** stages > 2**16:
            raise InvalidValue(
                f"stages {stages} of levels {list(levels)}",
                allowed="must be at least 1 and make at most 2^16 levels of a dimension",
                remedy="take 2 stages of [4, 4, 4, 4]",
            )
        if not 0.0 <= dropout <= 1.0:
            raise InvalidValue("dropout", dropout, "must lie in [0, 1]")
        self.stages, self.dropout, self.codebook_sizes = stages, dropout, self.codebook_sizes * stages
        weight = [[level**power for level in levels] for power in reversed(range(stages))]
        self.register_buffer("radix", torch.tensor(levels), persistent=False)
        self.register_buffer("weight", torch.tensor(weight), persistent=False)  # Lᴷ⁻ᵏ, [K, d]
        self.levels_tensor = self.radix**stages

    def codes_to_levels(self, codes: Tensor) -> Tensor:
        """Join the stages' digits: int64 `[B, K, F]` to the finest levels `[B, d, F]`, in 0 … Lᵢᴷ − 1."""
        return (self._digits(codes) * self.weight[:, :, None]).sum(1)

    def levels_to_codes(self, levels: Tensor) -> Tensor:
        """Inverse of `codes_to_levels`: int64 `[B, d, F]` to `[B, K, F]`."""
        digits = levels.unsqueeze(1) // self.weight[:, :, None] % self.radix[:, None]  # [B, K, d, F]
        return (digits * self.basis[:, None]).sum(2)

    def _digits(self, codes: Tensor) -> Tensor:
        """Each code's digits: `[B, K, F]` to `[B, K, d, F]`."""
        return codes.unsqueeze(2) // self.basis[:, None] % self.radix[:, None]

    def _contributions(self, codes: Tensor) -> Tensor:
        """The centre of the first stage's cell, and each further stage's step from the centre of the cell before."""
        check_stages(codes, self.codebook_sizes)
        weight = self.weight[: codes.shape[1]]
        inner = (self.radix - 1) * weight / 2  # [K, d], from the lowest part of a cell to its centre
        first = self.middle - (weight[:1] - 1) / 2
        origin = torch.cat((first, inner[1:]))
        return (self._digits(codes) * weight[:, :, None] - origin[:, :, None]) / self.middle[:, None]

    def _drop_stages(self, values: Tensor, codes: Tensor) -> Tensor:
        if not self.training or self.dropout == 0 or self.stages == 1:
            return values
        used = stages_in_use(codes, self.dropout)  # [B, K]
        coarse = (self._contributions(codes) * used[:, :, None, None]).sum(1).transpose(1, 2)  # [B, F, d]
        return torch.where(used[:, -1, None, None] > 0, values, values + (coarse - values).detach())
