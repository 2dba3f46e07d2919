"""Channels made of channels: a random one of several for training, and one that touches selected bits alone."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.channels.base import Channel


class MixedChannel(Channel):
    """Sends each clip through one of several channels, drawn by weight: for training a codec for a range of them.

    Args:
        channels: to draw from.
        weights: relative, one for each; equal by default.

    Raises:
        ValueError: there is no channel, or the weights are not one number of 0 or more for each, above 0 in sum.
    """

    family = "mixed"

    def __init__(self, channels: Sequence[Channel], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(channels) if weights is None else list(weights)
        if not channels or len(weights) != len(channels) or min(weights) < 0 or not 0 < sum(weights) < math.inf:
            raise ValueError(
                f"weights {weights} must be one number of 0 or more for each of the {len(channels)} channels (at least "
                "one), and not all 0."
            )
        self.channels, self.weights = list(channels), torch.tensor(weights, dtype=torch.float64)
        shares = (self.weights / self.weights.sum()).tolist()
        self.error_rate = sum(share * channel.error_rate for share, channel in zip(shares, channels, strict=True))
        parts = [f"{channel.name} x {share:.3g}" for share, channel in zip(shares, channels, strict=True)]
        self.name = f"{self.family}({', '.join(parts)})"

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits that are sent; raises ValueError where the channels do not agree on them."""
        found = {channel.channel_bits(frames, frame_bits) for channel in self.channels}
        if len(found) > 1:
            raise ValueError(
                f"channels of {self.name} send different numbers of bits, {sorted(found)}: mix equal rates."
            )
        return found.pop()

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        if bits.ndim < 3:
            return self._draw(generator)(bits, generator)
        received = [self._draw(generator)(item, generator) for item in bits.flatten(0, -3)]
        if any(item.is_floating_point() for item in received):
            received = [item.float() for item in received]
        return torch.stack(received).view(bits.shape)

    def _draw(self, generator: torch.Generator) -> Channel:
        return self.channels[int(torch.multinomial(self.weights, 1, generator=generator))]


class SelectedBitsChannel(Channel):
    """Sends some bits of each frame through a channel and the others unharmed: what one bit is worth.

    Args:
        channel: for the selected bits; `error_rate` counts those alone.
        positions: of the selected bits in a frame, from 0.

    Raises:
        ValueError: no position, or one twice or below 0; when called, one beyond the frame.
    """

    def __init__(self, channel: Channel, positions: Sequence[int]) -> None:
        if not positions or min(positions) < 0 or len(set(positions)) < len(positions):
            raise ValueError(f"positions {list(positions)} must be different bits of a frame, counted from 0.")
        self.channel, self.positions = channel, list(positions)
        self.family, self.error_rate = channel.family, channel.error_rate
        self._suffix = f"-bits{','.join(map(str, positions))}"
        self.name = f"{channel.name}{self._suffix}"

    @property
    def curve(self) -> str:
        return f"{self.channel.curve}{self._suffix}"

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits that are sent for `frames` frames of `frame_bits` each, parity included."""
        selected = len(self.positions)
        return self.channel.channel_bits(frames, selected) + frames * (frame_bits - selected)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        if max(self.positions) >= bits.shape[-1]:
            raise ValueError(f"positions {self.positions} must lie below the {bits.shape[-1]} bits of a frame.")
        received = self.channel(bits[..., self.positions], generator)
        together = bits.to(received.dtype, copy=True)
        together[..., self.positions] = received
        return together
