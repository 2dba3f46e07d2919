"""Base class of the generator's losses: one term with one weight, computed from the tensors of a training step."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from codec.codec import CodecOutput, NeuralCodec
from codec.errors import InvalidValue
from codec.training.discriminators import DiscriminatorOutput


class Latents(NamedTuple):
    """Latents of a clip before and after quantization, each `[B, D, F]`."""

    z_e: Tensor
    z_q: Tensor


class LossInputs(NamedTuple):
    """What a loss may look at.

    Attributes:
        codec: the codec in training.
        output: its output for the batch.
        target: the audio to be reconstructed, `[B, 1, T']` in [−1, 1].
        real: discriminator outputs for the target, one per sub-discriminator; empty before they join.
        fake: the same for the codec's audio.
        teacher: latents of the teacher, in distillation.
    """

    codec: NeuralCodec
    output: CodecOutput
    target: Tensor
    real: Sequence[DiscriminatorOutput] = ()
    fake: Sequence[DiscriminatorOutput] = ()
    teacher: Latents | None = None


class Loss(nn.Module, ABC):
    """One term of the generator's loss.

    A loss of your own derives from it, sets `name`, and is listed under `model.init_args.losses`. Weights that it
    trains are saved under its name.

    Args:
        weight: factor of the term, 0 or more.

    Attributes:
        name: of the term in logs (`train/NAME`); a valid Python name that no other loss of the module has.
        sees_discriminators: whether it looks at `real` and `fake`; without one that does, a compiled step saves them.

    Raises:
        InvalidValue: the weight is negative or not finite.
    """

    name: str
    sees_discriminators = True

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if not 0 <= weight < math.inf:
            raise InvalidValue("weight", f"{weight} of {type(self).__name__}", "must be a finite number of 0 or more")
        self.weight = weight

    def attach(self, codec: NeuralCodec) -> None:
        """Take what the loss needs of the codec, once; raise UserError where the codec does not fit it."""

    @abstractmethod
    def forward(self, inputs: LossInputs) -> Tensor:
        """The term without its weight: a float32 scalar with a gradient to the codec."""
