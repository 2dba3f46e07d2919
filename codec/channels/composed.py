"""Channels made of channels: a random one of several for training, some bits of a frame, or its first ones alone."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.channels.base import Channel, ChannelAround, decision_probabilities
from codec.channels.bit_errors import BinarySymmetricChannel
from codec.errors import InvalidValue


class AlternativeChannels(Channel):
    """Channels of which one or another carries the bits, so that all send equally many.

    A subclass sets the attributes of `Channel`.

    Attributes:
        equal_rates: remedy where they send different numbers of bits.

    Args:
        channels: to choose from.
        lost_share: expected share of bits lost over the choice.
    """

    equal_rates: str

    def __init__(self, channels: Sequence[Channel], lost_share: float) -> None:
        self.channels, self._lost_share = list(channels), lost_share

    @property
    def lost_share(self) -> float:
        """Expected share of bits lost, over the choice of the channels."""
        return self._lost_share

    @property
    def delay_frames(self) -> int:
        """The largest delay of the channels, in frames."""
        return max(channel.delay_frames for channel in self.channels)

    @property
    def by_frame(self) -> bool:
        """Whether all of them count so."""
        return all(channel.by_frame for channel in self.channels)

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent, parity included.

        Raises:
            InvalidValue: the channels send different numbers of bits.
        """
        counts = {channel.channel_bits(frames, frame_bits) for channel in self.channels}
        if len(counts) > 1:
            raise InvalidValue(
                f"channels of {self.name}",
                allowed=f"send different numbers of bits, {sorted(counts)}",
                remedy=self.equal_rates,
            )
        return counts.pop()


class MixedChannel(AlternativeChannels):
    """Sends each clip through one of several channels, drawn at random: trains a codec for a range of channels.

    Clip b of `[B, F, n]` goes through channel i with probability wᵢ / Σ w; without a batch axis there is one clip.
    `error_rate` is the mean over channels with these probabilities. The result is float32 if that of any clip is.

    Args:
        channels: to draw from.
        weights: w, relative, one for each channel; equal by default.

    Raises:
        InvalidValue: there is no channel, or the weights are not one number of 0 or more for each, above 0 in sum.
    """

    family = "mixed"
    equal_rates = "mix equal rates"

    def __init__(self, channels: Sequence[Channel], weights: Sequence[float] | None = None) -> None:
        weights = [1.0] * len(channels) if weights is None else list(weights)
        if not channels or len(weights) != len(channels) or min(weights) < 0 or not 0 < sum(weights) < math.inf:
            allowed = f"must be one number of 0 or more for each of the {len(channels)} channels (at least one)"
            raise InvalidValue("weights", weights, allowed + ", and not all 0")
        self.weights = torch.tensor(weights, dtype=torch.float64)
        shares = (self.weights / self.weights.sum()).tolist()
        super().__init__(channels, sum(p * channel.lost_share for p, channel in zip(shares, channels, strict=True)))
        self.error_rate = sum(share * channel.error_rate for share, channel in zip(shares, channels, strict=True))
        parts = [f"{channel.name} x {share:.3g}" for share, channel in zip(shares, channels, strict=True)]
        self.name = f"{self.family}({', '.join(parts)})"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        if bits.ndim < 3:
            return self._draw(generator)(bits, generator)
        drawn = [self._draw(generator) for _ in range(bits.flatten(0, -3).shape[0])]
        received = [channel(clip, generator) for channel, clip in zip(drawn, bits.flatten(0, -3), strict=True)]
        if any(clip.is_floating_point() for clip in received):  # beside them, decisions are as certain as they are
            received = [
                clip if clip.is_floating_point() else decision_probabilities(clip, channel.error_rate)
                for channel, clip in zip(drawn, received, strict=True)
            ]
        return torch.stack(received).view(bits.shape)

    def with_known_error_rate(self) -> Channel:
        return MixedChannel([channel.with_known_error_rate() for channel in self.channels], self.weights.tolist())

    def _draw(self, generator: torch.Generator) -> Channel:
        """Draw the channel of one clip."""
        return self.channels[int(torch.multinomial(self.weights, 1, generator=generator))]


class SelectedBitsChannel(ChannelAround):
    """Sends some bits of each frame through a channel and the others without errors, to measure how much each matters.

    >>> channel = SelectedBitsChannel(BinarySymmetricChannel(1.0), [0, 2])
    >>> channel(torch.zeros(1, 4, dtype=torch.uint8), torch.Generator()).tolist()
    [[1, 0, 1, 0]]

    Args:
        channel: for the selected bits; `error_rate` counts these only.
        positions: of the selected bits in a frame, from 0.

    Raises:
        InvalidValue: no position, or one twice or below 0; when called, one beyond the frame.
    """

    def __init__(self, channel: Channel, positions: Sequence[int]) -> None:
        if not positions or min(positions) < 0 or len(set(positions)) < len(positions):
            raise InvalidValue("positions", list(positions), "must be different bits of a frame, counted from 0")
        self.channel, self.positions = channel, list(positions)
        self.family, self.error_rate = channel.family, channel.error_rate
        self._suffix = f"-bits{','.join(map(str, positions))}"
        self.name = f"{channel.name}{self._suffix}"

    @property
    def curve(self) -> str:
        return f"{self.channel.curve}{self._suffix}"

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for `frames` frames of `frame_bits` each, parity included."""
        selected = len(self.positions)
        return self.channel.channel_bits(frames, selected) + frames * (frame_bits - selected)

    def with_known_error_rate(self) -> Channel:
        return SelectedBitsChannel(self.channel.with_known_error_rate(), self.positions)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        if max(self.positions) >= bits.shape[-1]:
            raise InvalidValue("positions", self.positions, f"must lie below the {bits.shape[-1]} bits of a frame")
        received = self.channel(bits[..., self.positions], generator)
        merged = bits.to(received.dtype, copy=True)
        merged[..., self.positions] = received
        return merged


class TruncatedChannel(ChannelAround):
    """Sends the first bits of each frame through a channel and the others not at all: the receiver takes them as lost.

    The test of a scalable codec, whose frames a sender or a gateway may cut short: `ResidualFSQ` and `RVQ` send their
    first codebook first. Hard decisions of the channel become probabilities of a one beside the lost bits, p or 1 − p.

    >>> TruncatedChannel(2)(torch.ones(1, 4, dtype=torch.uint8), torch.Generator()).tolist()
    [[1.0, 1.0, 0.5, 0.5]]
    >>> TruncatedChannel(8).channel_bits(50, 16)
    400

    Args:
        first_bits: m, bits of each frame that are sent.
        channel: for these; `error_rate` counts them only, as `channel_bits` does. None for one without errors.

    Raises:
        InvalidValue: no bit; when called, fewer bits in a frame.
    """

    def __init__(self, first_bits: int, channel: Channel | None = None) -> None:
        if first_bits < 1:
            raise InvalidValue("first_bits", first_bits, "must be at least 1", "take 8")
        self.first_bits = first_bits
        self.channel = BinarySymmetricChannel(0.0) if channel is None else channel
        self.family, self.error_rate = self.channel.family, self.channel.error_rate
        self.name = f"{self.channel.name}-first{first_bits}"

    @property
    def curve(self) -> str:
        return f"{self.channel.curve}-first{self.first_bits}"

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for `frames` frames of `frame_bits` each: of the first ones only, parity included."""
        self._check(frame_bits)
        return self.channel.channel_bits(frames, self.first_bits)

    def with_known_error_rate(self) -> Channel:
        return TruncatedChannel(self.first_bits, self.channel.with_known_error_rate())

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        self._check(bits.shape[-1])
        received = self.channel(bits[..., : self.first_bits], generator)
        if not received.is_floating_point():
            received = decision_probabilities(received, self.error_rate)
        lost = received.new_full((*received.shape[:-1], bits.shape[-1] - self.first_bits), 0.5)
        return torch.cat((received, lost), -1)

    def _check(self, frame_bits: int) -> None:
        if self.first_bits > frame_bits:
            raise InvalidValue("first_bits", self.first_bits, f"must be at most the {frame_bits} bits of a frame")
