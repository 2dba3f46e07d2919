"""Losses against discriminators: least squares (arXiv 1611.04076) and feature matching (HiFi-GAN, arXiv 2010.05646)."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.training.losses.base import Loss, LossInputs


class AdversarialLoss(Loss):
    """Losses of both sides, given one score map per sub-discriminator and summed over sub-discriminators.

    Calling the module gives the generator's term, which `weight` scales. Discriminators minimise `discriminator`,
    which has no weight: their optimizer has its own learning rate.
    """

    name = "adversarial"

    def forward(self, inputs: LossInputs) -> Tensor:
        return self.generator([output.score for output in inputs.fake])

    def discriminator(self, real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
        """The discriminators' loss, a scalar, from their score maps (any shapes) of real and of generated audio."""
        return torch.stack([self.real(r.float()) + self.fake(f.float()) for r, f in zip(real, fake, strict=True)]).sum()

    def generator(self, fake: Sequence[Tensor]) -> Tensor:
        """The generator's loss, a scalar, from score maps (any shapes) of generated audio."""
        return torch.stack([self.fooled(f.float()) for f in fake]).sum()

    @abstractmethod
    def real(self, score: Tensor) -> Tensor:
        """The discriminator's loss on real audio."""

    @abstractmethod
    def fake(self, score: Tensor) -> Tensor:
        """The discriminator's loss on generated audio."""

    @abstractmethod
    def fooled(self, score: Tensor) -> Tensor:
        """The generator's loss on generated audio."""


class LeastSquaresLoss(AdversarialLoss):
    """LSGAN (arXiv 1611.04076, eq. 9): real towards 1, generated towards 0, the generator towards 1."""

    def real(self, score: Tensor) -> Tensor:
        return (1 - score).square().mean()

    def fake(self, score: Tensor) -> Tensor:
        return score.square().mean()

    def fooled(self, score: Tensor) -> Tensor:
        return (1 - score).square().mean()


class FeatureMatchingLoss(Loss):
    """Mean L1 distance of each discriminator layer's features, summed over layers and sub-discriminators.

    HiFi-GAN (arXiv 2010.05646), eq. 5. No gradient reaches the features of real audio.
    """

    name = "feature_matching"

    def forward(self, inputs: LossInputs) -> Tensor:
        pairs = [
            (r, f)
            for real, fake in zip(inputs.real, inputs.fake, strict=True)
            for r, f in zip(real.features, fake.features, strict=True)
        ]
        return torch.stack([mean_distance(f, r.detach()) for r, f in pairs]).sum()


def mean_distance(x: Tensor, y: Tensor) -> Tensor:
    """Mean of |x − y|, a float32 scalar; half-precision tensors are subtracted as they are and summed in float32."""
    if x.dtype == torch.float32:
        return F.l1_loss(x, y)
    return (x - y).abs().mean(dtype=torch.float32)
