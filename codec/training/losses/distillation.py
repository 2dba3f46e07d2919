"""Losses between a student's and its teacher's view of a clip; the latent distance is NeuCodec's (arXiv 2509.09550)."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from codec.quantizers.base import Quantizer
from codec.quantizers.fsq import FSQ


class View(NamedTuple):
    """What an encoder and the shared quantizer make of a clip: latents before and after quantization, `[B, D, F]`."""

    z_e: Tensor
    z_q: Tensor


class DistillationLoss(nn.Module, ABC):
    """A distance of the student from its teacher.

    Args:
        weight: factor in the generator's loss.

    Raises:
        ValueError: the weight is below zero.
    """

    name: str

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight {weight} of {type(self).__name__} must be 0 or more.")
        self.weight = weight

    def check(self, quantizer: Quantizer) -> None:
        """Raise ValueError if the loss cannot be computed with this quantizer."""

    @abstractmethod
    def forward(self, student: View, teacher: View, quantizer: Quantizer) -> Tensor:
        """The distance, a float32 scalar with a gradient to the student; the teacher's view has none."""


class LatentDistance(DistillationLoss):
    """Mean squared error of the encoders' outputs, the quantizer's input `[B, D, F]`: the paper's loss.

    It also pulls on directions that a projection inside the quantizer drops; `ProjectedDistance` does not.
    """

    name = "latent_distance"

    def forward(self, student: View, teacher: View, quantizer: Quantizer) -> Tensor:
        return F.mse_loss(student.z_e.float(), teacher.z_e.float())


class LevelLoss(DistillationLoss):
    """A loss on FSQ's levels."""

    def check(self, quantizer: Quantizer) -> None:
        if not isinstance(quantizer, FSQ):
            raise ValueError(
                f"{type(self).__name__} needs levels, which {type(quantizer).__name__} has not: use LatentDistance or "
                "QuantizedCosine, or a teacher with FSQ."
            )


class ProjectedDistance(LevelLoss):
    """Mean squared error in quantization steps, where FSQ rounds: after its projection and bound, `[B, F, d]`."""

    name = "projected_distance"

    def forward(self, student: View, teacher: View, quantizer: Quantizer) -> Tensor:
        return F.mse_loss(steps_before_rounding(student, quantizer), steps_before_rounding(teacher, quantizer))


class OrdinalLevelLoss(LevelLoss):
    """Ordinal regression on FSQ's levels: is the student's value above each threshold that the teacher's level exceeds?

    Cumulative-link binary cross-entropy (CORAL, arXiv 1901.07884) with FSQ's own thresholds, half-way between levels;
    the mean over frames and dimensions of the sum over thresholds.

    Args:
        weight: factor in the generator's loss.
        temperature: in quantization steps; a value one temperature beyond a threshold has logit 1.
    """

    name = "ordinal_levels"

    def __init__(self, weight: float = 1.0, *, temperature: float = 0.25) -> None:
        super().__init__(weight)
        self.temperature = _positive(temperature)

    def forward(self, student: View, teacher: View, quantizer: Quantizer) -> Tensor:
        values = steps_before_rounding(student, quantizer)
        wanted = steps_before_rounding(teacher, quantizer).round()
        candidates, exists = levels_of(quantizer)
        thresholds = candidates[:, 1:] - 0.5  # [d, L - 1], between a level and the one below
        logits = (values.unsqueeze(-1) - thresholds) / self.temperature  # [B, F, d, L - 1]
        above = (wanted.unsqueeze(-1) > thresholds).float()
        losses = F.binary_cross_entropy_with_logits(logits, above, reduction="none")
        return losses.masked_fill(~exists[:, 1:], 0.0).sum(-1).mean()


class LevelCrossEntropy(LevelLoss):
    """Cross-entropy on FSQ's levels, with logits −(value − level)² / temperature²; mean over frames and dimensions.

    Args:
        weight: factor in the generator's loss.
        temperature: in quantization steps.
    """

    name = "level_cross_entropy"

    def __init__(self, weight: float = 1.0, *, temperature: float = 0.5) -> None:
        super().__init__(weight)
        self.temperature = _positive(temperature)

    def forward(self, student: View, teacher: View, quantizer: Quantizer) -> Tensor:
        values = steps_before_rounding(student, quantizer)
        wanted = steps_before_rounding(teacher, quantizer).round()
        candidates, exists = levels_of(quantizer)
        logits = -((values.unsqueeze(-1) - candidates) / self.temperature).square()  # [B, F, d, L]
        logits = logits.masked_fill(~exists, float("-inf"))
        index = (wanted - candidates[:, 0]).long()
        return F.cross_entropy(logits.flatten(0, 2), index.flatten())


class QuantizedCosine(DistillationLoss):
    """One minus the cosine of the quantizer's outputs, mean over frames; works with any quantizer."""

    name = "quantized_cosine"

    def forward(self, student: View, teacher: View, quantizer: Quantizer) -> Tensor:
        return 1 - F.cosine_similarity(student.z_q.float(), teacher.z_q.float(), dim=1).mean()


def steps_before_rounding(view: View, quantizer: Quantizer) -> Tensor:
    """FSQ's value of each dimension before rounding, in quantization steps: float32 `[B, F, d]`."""
    assert isinstance(quantizer, FSQ)
    with torch.autocast(view.z_e.device.type, enabled=False):
        return quantizer.bound(quantizer.project_in(view.z_e.float().transpose(1, 2)), quantizer.levels_tensor)


def levels_of(quantizer: Quantizer) -> tuple[Tensor, Tensor]:
    """Each dimension's levels in steps, `[d, L]` for the largest L, and which of them the dimension has."""
    assert isinstance(quantizer, FSQ)
    sizes = quantizer.levels_tensor
    number = torch.arange(int(sizes.max()), device=sizes.device)
    return (number - quantizer.middle[:, None]).float(), number < sizes[:, None]


def _positive(temperature: float) -> float:
    if temperature <= 0:
        raise ValueError(f"temperature {temperature} must be above 0 quantization steps, for example 0.25.")
    return temperature
