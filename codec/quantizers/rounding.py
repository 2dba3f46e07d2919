"""How scalar quantizers round in training: straight-through, or dithered as in StableCodec (arXiv 2411.19842)."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.errors import InvalidValue
from codec.layers.construction import Constructed


def round_ste(x: Tensor) -> Tensor:
    """Round to the nearest integer with gradient one (straight-through)."""
    return x + (x.round() - x).detach()


class Rounding(Constructed, ABC):
    """What a scalar quantizer passes to the decoder in training; evaluation always rounds to the nearest level.

    The codes that the quantizer returns are those of plain rounding in either case.
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Map values `[B, F, d]`, in units of one quantization step, to what is decoded; its gradient is one."""


class StraightThrough(Rounding):
    """Rounds every value to the nearest step, with gradient one."""

    def __call__(self, x: Tensor) -> Tensor:
        return round_ste(x)


class Dithered(Rounding):
    """For each clip, rounds all values, leaves all as they are, or adds uniform noise as wide as one step to each.

    The decoder thereby also learns from values between the steps, and the encoder gets an unbiased gradient from the
    clips that are not rounded. StableCodec mixes rounding and noise half and half: `Dithered(0.5, 0.0, noise=0.5)`.

    Args:
        quantized: probability that a clip is rounded, straight-through.
        unquantized: probability that it is left as it is.
        noise: probability that independent noise, uniform in [−½, ½) of a step, is added to each of its values.

    Raises:
        InvalidValue: a probability is negative, or they do not sum to one.
    """

    def __init__(self, quantized: float = 0.5, unquantized: float = 0.25, *, noise: float = 0.25) -> None:
        shares = (quantized, unquantized, noise)
        if min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
            raise InvalidValue(
                f"quantized {quantized}, unquantized {unquantized} and noise {noise}",
                allowed="must be probabilities that sum to 1",
                remedy="take 0.5, 0.25 and 0.25",
            )
        self.quantized, self.unquantized, self.noise = shares

    def __call__(self, x: Tensor) -> Tensor:
        draw = torch.rand(x.shape[0], 1, 1, device=x.device)
        noisy = x + torch.rand_like(x) - 0.5
        smooth = torch.where(draw < self.quantized + self.unquantized, x, noisy)
        return torch.where(draw < self.quantized, round_ste(x), smooth)
