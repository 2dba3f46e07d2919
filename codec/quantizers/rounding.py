"""How scalar quantizers round in training: straight-through, or dithered as in StableCodec (arXiv 2411.19842)."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor


def round_ste(x: Tensor) -> Tensor:
    """Round to the nearest integer with gradient one (straight-through)."""
    return x + (x.round() - x).detach()


class Rounding(ABC):
    """What the decoder gets in training in place of values that lie between steps; evaluation always rounds.

    The codes that a quantizer returns are those of plain rounding all the same.
    """

    @abstractmethod
    def __call__(self, x: Tensor) -> Tensor:
        """Map values `[B, F, d]` in steps to what is decoded, with gradient one."""


class StraightThrough(Rounding):
    """Rounds every value."""

    def __call__(self, x: Tensor) -> Tensor:
        return round_ste(x)


class Dithered(Rounding):
    """Rounds some clips of the batch, leaves some as they are, and adds uniform noise as wide as one step to others.

    The decoder thereby learns from values between the steps too, and the encoder sees an unbiased gradient on the
    clips that are not rounded. StableCodec mixes rounding and noise, half and half: `Dithered(0.5, 0.0, noise=0.5)`.

    Args:
        quantized: probability that a clip is rounded, straight-through.
        unquantized: probability that it is left as it is.
        noise: probability that each of its values gets its own noise in [−½, ½) of a step instead.

    Raises:
        ValueError: a probability is negative, or they do not sum to one.
    """

    def __init__(self, quantized: float = 0.5, unquantized: float = 0.25, *, noise: float = 0.25) -> None:
        shares = (quantized, unquantized, noise)
        if min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
            raise ValueError(
                f"quantized {quantized}, unquantized {unquantized} and noise {noise} must be probabilities that sum "
                "to 1, for example 0.5, 0.25 and 0.25."
            )
        self.quantized, self.unquantized, self.noise = shares

    def __call__(self, x: Tensor) -> Tensor:
        draw = torch.rand(x.shape[0], 1, 1, device=x.device)
        noisy = x + torch.rand_like(x) - 0.5
        smooth = torch.where(draw < self.quantized + self.unquantized, x, noisy)
        return torch.where(draw < self.quantized, round_ste(x), smooth)
