"""Finite scalar quantization (Mentzer et al., arXiv 2309.15505), with NeuCodec's double bound (arXiv 2509.09550)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.layers.construction import Constructed
from codec.quantizers.base import QuantizerOutput
from codec.quantizers.rounding import Rounding, StraightThrough, round_ste
from codec.quantizers.scalar import ScalarQuantizer


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


class FSQ(ScalarQuantizer):
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

    def __init__(
        self,
        dim: int,
        levels: Sequence[int] = (4,) * 8,
        *,
        bound: Bound | None = None,
        rounding: Rounding | None = None,
    ) -> None:
        super().__init__(dim, levels)
        self.bound = TanhBound() if bound is None else bound
        self.rounding = StraightThrough() if rounding is None else rounding

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

    @property
    def middle(self) -> Tensor:
        """⌊L/2⌋ of each dimension `[d]`: the step that becomes zero, and the scale to [−1, 1]."""
        return self.levels_tensor // 2

    def _contributions(self, codes: Tensor) -> Tensor:
        return ((self.codes_to_levels(codes) - self.middle[:, None]) / self.middle[:, None]).unsqueeze(1)

    def _drop_stages(self, values: Tensor, codes: Tensor) -> Tensor:
        """Values `[B, F, d]` after dropout of stages; unchanged here, as there is a single stage."""
        return values
