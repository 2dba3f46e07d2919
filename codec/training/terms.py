"""The terms of the generator's loss: their names, weights and sum."""

import inspect
from collections.abc import Mapping

import lightning as L
import torch
from torch import Tensor, nn

from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.training.losses.adversarial import AdversarialLoss, FeatureMatchingLoss
from codec.training.losses.base import Loss, LossInputs
from codec.training.losses.reconstruction import ReconstructionLoss

# Names that a module gives its own terms, or to parts that it takes after its losses; a loss may have none of them.
SET_LATER = ("generator", "discriminator", "distances", "further_losses", "validation_distance")


class GeneratorTerms(L.LightningModule):
    """Keeps the generator's losses and sums them up.

    Attributes:
        terms: weight of each term of the generator's loss, by name, in the sum's order.
        further_losses: names of the losses beside those of a codec with discriminators.
    """

    codec: NeuralCodec
    discriminators: nn.ModuleList
    reconstruction_loss: ReconstructionLoss
    adversarial_loss: AdversarialLoss
    feature_matching_loss: FeatureMatchingLoss
    terms: dict[str, float]
    further_losses: list[str]

    def _add_term(self, loss: Loss) -> None:
        """Keep a term's weight under its name, and attach the loss to the codec (`Loss.attach`)."""
        if not isinstance(getattr(loss, "name", None), str) or not loss.name.isidentifier():
            raise InvalidValue(
                f"name {getattr(loss, 'name', None)!r}", None, f"of {type(loss).__name__} must be a valid Python name"
            )
        later = {*inspect.signature(type(self).__init__).parameters, *SET_LATER}
        if loss.name in {*self.terms, *later, *dir(self)}:
            raise InvalidValue(
                f"The name {loss.name!r} of {type(loss).__name__} is taken", remedy="give each loss a name of its own"
            )
        loss.attach(self.codec)
        self.terms[loss.name] = loss.weight

    def logged_names(self) -> list[str]:
        """Names of all values that `fit` logs of the module, for callbacks that monitor one."""
        judged = {self.adversarial_loss.name, self.feature_matching_loss.name}
        sides, terms = ["generator"], [name for name in self.terms if name not in judged]
        if len(self.discriminators):
            sides, terms = ["generator", "discriminator"], list(self.terms)
        names = [f"{kind}/{side}" for kind in ("train", "gradient_norm", "learning_rate") for side in sides]
        loss = self.reconstruction_loss.name
        return [f"val/{loss}", loss, *(f"train/{name}" for name in terms), *names, "train/skipped_steps"]

    def _against(self, inputs: LossInputs) -> dict[str, Tensor]:
        """Unweighted terms of the generator's loss that discriminators decide."""
        return {loss.name: loss(inputs) for loss in (self.adversarial_loss, self.feature_matching_loss)}

    def _further_terms(self, inputs: LossInputs, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Unweighted terms of `losses`."""
        return {name: self.get_submodule(name)(inputs) for name in self.further_losses}

    def _outputs_are_seen(self) -> bool:
        """Whether a further loss may look at outputs of the discriminators."""
        return any(self.get_submodule(name).sees_discriminators for name in self.further_losses)

    def _weighted_sum(self, values: Mapping[str, Tensor]) -> Tensor:
        """The generator's loss from its unweighted terms.

        Raises:
            InvalidValue: A term is not a scalar.
        """
        for name in self.terms:
            if name in values and values[name].ndim:
                raise InvalidValue(
                    f"The loss {name}", list(values[name].shape), "must be a scalar, not a tensor of this shape",
                    "return its mean",
                )  # fmt: skip
        return torch.stack([weight * values[name] for name, weight in self.terms.items() if name in values]).sum()
