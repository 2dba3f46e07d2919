"""What every discriminator is and returns, and the loop over layers that keeps their features."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from codec.errors import InvalidValue


def check_sizes(name: str, values: Sequence[int], *, least: int = 1) -> None:
    """InvalidValue unless there is a size and all are whole numbers of at least `least`."""
    if not values or not all(isinstance(value, int) and value >= least for value in values):
        raise InvalidValue(name, list(values), f"must be one or more whole numbers of at least {least}")


class DiscriminatorOutput(NamedTuple):
    """One sub-discriminator's output: its score map `[B, 1, ...]` and the features of each layer before it."""

    score: Tensor
    features: list[Tensor]


class Discriminator(nn.Module, ABC):
    """Tells real audio from generated audio; may hold several sub-discriminators."""

    @abstractmethod
    def forward(self, audio: Tensor) -> list[DiscriminatorOutput]:
        """Audio `[B, 1, T]` to one output per sub-discriminator."""


class SubDiscriminators(Discriminator):
    """Several sub-discriminators, `parts`, which all get the same audio."""

    parts: nn.ModuleList

    def forward(self, audio: Tensor) -> list[DiscriminatorOutput]:
        return [part(audio) for part in self.parts]


def run_layers(x: Tensor, layers: nn.ModuleList, score: nn.Module, slope: float = 0.1) -> DiscriminatorOutput:
    """Run layers, each followed by a leaky ReLU of this slope, keeping each output, then the score layer."""
    features = []
    for layer in layers:
        # In place: a convolution's gradient needs its input and weight only, so its output is not kept.
        x = F.leaky_relu(layer(x), slope, inplace=True)
        features.append(x)
    return DiscriminatorOutput(score(x), features)
