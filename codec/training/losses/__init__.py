"""Losses: one base class, one weight each; every term of the generator's loss is one of them."""

from codec.training.losses.adversarial import AdversarialLoss, FeatureMatchingLoss, LeastSquaresLoss
from codec.training.losses.base import Latents, Loss, LossInputs
from codec.training.losses.distillation import DistillationLoss, LatentDistance
from codec.training.losses.reconstruction import MultiScaleMelLoss, ReconstructionLoss
from codec.training.losses.semantic import SemanticReconstruction

__all__ = [
    "AdversarialLoss",
    "DistillationLoss",
    "FeatureMatchingLoss",
    "LatentDistance",
    "Latents",
    "LeastSquaresLoss",
    "Loss",
    "LossInputs",
    "MultiScaleMelLoss",
    "ReconstructionLoss",
    "SemanticReconstruction",
]
