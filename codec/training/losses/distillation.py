"""Losses between a student's and its teacher's latents; the latent distance is NeuCodec's (arXiv 2509.09550)."""

import torch.nn.functional as F
from torch import Tensor

from codec.training.losses.base import Loss, LossInputs


class DistillationLoss(Loss):
    """A distance between the student and its teacher (`inputs.teacher`), through which no gradient flows."""


class LatentDistance(DistillationLoss):
    """Mean squared error of the encoders' outputs, the quantizer's input `[B, D, F]`: the paper's loss.

    It also pulls on directions of the latent space that a projection inside the quantizer drops.
    """

    name = "latent_distance"
    sees_discriminators = False

    def forward(self, inputs: LossInputs) -> Tensor:
        assert inputs.teacher is not None
        return F.mse_loss(inputs.output.z_e.float(), inputs.teacher.z_e.float())
