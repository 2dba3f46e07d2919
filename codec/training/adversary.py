"""The adversary of a codec in training: its discriminators, their losses, and when and how they train."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.training.discriminators import Discriminator, DiscriminatorOutput
from codec.training.losses.adversarial import AdversarialLoss, FeatureMatchingLoss
from codec.training.optimizers import OptimizerCallable, adamw
from codec.training.schedules import Schedule


@dataclass(frozen=True)
class Adversary:
    """Discriminators and how they train; without any, a codec trains on its other losses alone.

    Args:
        discriminators: networks that tell the codec's output from the target.
        loss: adversarial loss of generator and discriminators; least squares by default.
        feature_matching: feature-matching loss of the generator; weight 1 by default.
        optimizer: makes the discriminators' optimizer from their parameters.
        schedule: factor on that optimizer's learning rate, by batches since `start`; constant by default.
        start: number of batches before the discriminators join.
        crop: samples at the output rate that the discriminators see, a random stretch of each batch; 0 for all.
        simultaneous: take both sides' gradients from one pass over real and one over generated audio, before either
            steps, instead of stepping the discriminators first and passing through them again (as in
            GAN, arXiv 1406.2661, algorithm 1, and X-Codec 2): two passes instead of four, and another update rule.

    Raises:
        InvalidValue: `start` or `crop` is negative.
    """

    discriminators: Sequence[Discriminator] = ()
    loss: AdversarialLoss | None = None
    feature_matching: FeatureMatchingLoss | None = None
    optimizer: OptimizerCallable = adamw
    schedule: Schedule | None = None
    start: int = 0
    crop: int = 0
    simultaneous: bool = False

    def __post_init__(self) -> None:
        for name, number in (("start", self.start), ("crop", self.crop)):
            if number < 0:
                raise InvalidValue(f"adversary.{name}", number, "must be 0 or more")

    def random_stretch(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The same random stretch of both `[B, 1, T]` signals, `crop` samples long."""
        spare = real.shape[-1] - self.crop
        if self.crop == 0 or spare <= 0:
            return real, fake
        start = int(torch.randint(spare + 1, ()))
        stretch = slice(start, start + self.crop)
        return real[..., stretch], fake[..., stretch]


def discriminate(discriminators: Iterable[nn.Module], audio: Tensor) -> list[DiscriminatorOutput]:
    """Outputs of all sub-discriminators for `[B, 1, T]`."""
    return [output for discriminator in discriminators for output in discriminator(audio)]


def discriminate_both(
    discriminators: Iterable[nn.Module], real: Tensor, fake: Tensor
) -> tuple[list[Tensor], list[Tensor]]:
    """Score maps for real and for generated audio, in one pass over both stacked along the batch."""
    outputs = discriminate(discriminators, torch.cat((real, fake)))
    size = real.shape[0]
    return [output.score[:size] for output in outputs], [output.score[size:] for output in outputs]
