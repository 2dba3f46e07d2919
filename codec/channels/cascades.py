"""Channels one behind the other, and channels that take turns within a clip, as in a handover."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from codec.channels.base import Channel, check_frames, decide, decision_probabilities, mark_lost, uncertain
from codec.channels.composed import AlternativeChannels
from codec.channels.packets.frame_losses import PacketChannel
from codec.channels.packets.loss_models import LossChain
from codec.errors import InvalidValue

LONGEST = 1e9  # mean stay in frames, beyond which a change never comes


class CascadedChannel(Channel):
    """Sends bits through channels in series: each sends on what the one before it delivered.

    What composes, with p the probability of a one that a stage delivers:

    - Hard decisions (uint8) are sent on as bits through any channel.
    - On probabilities p a stage acts that loses or flips: it is sent the decisions on p; where it loses one, p becomes
      0.5, and where it flips one, p becomes 1 − p. As the receiver knows the flip rate ε of the stage but not which are
      flipped, it then takes p (1 − ε) + (1 − p) ε. That is the exact posterior if flips are independent of the bits
      and of each other; in bursts ε is their mean rate.
    - A stage that itself returns probabilities between 0 and 1, other than 0.5 (soft AWGN, error correction,
      resynchronisation), refuses probabilities: put it first, or behind hard decisions.
    - As soon as a stage returns probabilities, hard decisions of those before count as wrong with their joint rate ε,
      p (1 − ε) + (1 − p) ε: only what is certain is exactly 0 or 1. If none does, the result is uint8.

    Each stage draws from a generator of its own, seeded by one draw each, so that a stage's errors do not depend on the
    settings of the others. `error_rate` is 1 − (1 − f) Π (1 − lᵢ) with lᵢ the lost share of stage i and f the rate of
    an odd number of flips among what is not lost.

    >>> both = CascadedChannel([BinarySymmetricChannel(0.1), PacketLossChannel(0.5, 1)])
    >>> round(both.error_rate, 3), both.lost_share
    (0.55, 0.5)

    Args:
        channels: in the order in which bits pass them.

    Raises:
        InvalidValue: there is no channel; when called, probabilities reach a channel that refuses them.
    """

    def __init__(self, channels: Sequence[Channel]) -> None:
        if not channels:
            raise InvalidValue("channels", list(channels), "must be one channel or more")
        self.channels = list(channels)
        self.family = f"cascade({' > '.join(channel.family for channel in channels)})"
        self.name = f"cascade({' > '.join(channel.name for channel in channels)})"
        arrived, flipped = 1.0, 0.0
        for channel in channels:
            arrived *= 1.0 - channel.lost_share
            flipped = _either(flipped, _flip_rate(channel))
        self._lost_share = 1.0 - arrived
        self.error_rate = 1.0 - arrived * (1.0 - flipped)

    @property
    def curve(self) -> str:
        return f"cascade({' > '.join(channel.curve for channel in self.channels)})"

    @property
    def lost_share(self) -> float:
        """Expected share of bits lost by any stage."""
        return self._lost_share

    @property
    def delay_frames(self) -> int:
        """Sum of the stages' delays, in frames; packets are collected once, for the longest ones."""
        collected = [c.frames_per_packet - 1 if isinstance(c, PacketChannel) else 0 for c in self.channels]
        return sum(channel.delay_frames for channel in self.channels) - sum(collected) + max(collected)

    @property
    def by_frame(self) -> bool:
        """Whether all of them count so."""
        return all(channel.by_frame for channel in self.channels)

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent over the stage that sends most."""
        return max(channel.channel_bits(frames, frame_bits) for channel in self.channels)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        received, wrong = bits, 0.0
        for channel in self.channels:
            seed = int(torch.randint(2**62, (), generator=generator))
            own = torch.Generator().manual_seed(seed)
            if received.is_floating_point():
                received = self._pass_probabilities(received, channel, own)
                continue
            received = channel(received, own)
            if received.is_floating_point():
                received = _blurred(received, wrong)
            else:
                wrong = _either(wrong, channel.error_rate)
        return received

    def _pass_probabilities(self, received: Tensor, channel: Channel, generator: torch.Generator) -> Tensor:
        """What a channel that loses or flips makes of probabilities."""
        decisions, _ = decide(received)
        sent_on = channel(decisions, generator)
        if not sent_on.is_floating_point():
            return _blurred(torch.where(sent_on == decisions, received, 1.0 - received), channel.error_rate)
        lost = sent_on == 0.5
        if not bool((lost | (sent_on == decisions)).all()):
            raise InvalidValue(
                f"{channel.name} in {self.name}",
                allowed="cannot send probabilities on",
                remedy="put it first, or hard decisions before it",
            )
        return mark_lost(received, lost)


class SwitchingChannel(AlternativeChannels):
    """Channels that take turns within a clip, as when a moving terminal is handed over from cell to cell.

    The channel in use stays for a number of frames that is geometric with the mean mᵢ of `mean_frames`, and each of the
    others follows with equal probability; so channel i carries a share mᵢ / Σ m of the frames. Every channel runs over
    the whole clip, from a generator of its own, and frames are taken from the one in use. The first
    `interruption_frames` frames after a change are lost. The error rate is Σ πᵢ sᵢ^g eᵢ + 1 − Σ πᵢ sᵢ^g with
    πᵢ = mᵢ / Σ m, sᵢ = 1 − 1 / mᵢ, g interrupted frames and the channels' error rates e. The start is stationary: an
    interruption may reach into the clip.

    The result is float32 if that of any channel is, or frames are interrupted, and hard decisions are then stated with
    their channel's error rate, as in `MixedChannel`.

    >>> SwitchingChannel([BinarySymmetricChannel(0.0), BinarySymmetricChannel(0.1)], [150, 50]).error_rate
    0.025

    Args:
        channels: two or more, which send equally many bits.
        mean_frames: m, mean number of frames in a row for each channel, 1 or more.
        interruption_frames: g, frames that are lost after each change.

    Raises:
        InvalidValue: fewer than two channels, not one mean of 1 or more for each, or a negative interruption; when
            called, bits without a frame axis.
    """

    equal_rates = "switch between equal rates"

    def __init__(
        self, channels: Sequence[Channel], mean_frames: Sequence[float], *, interruption_frames: int = 0
    ) -> None:
        means = list(mean_frames)
        if len(channels) < 2 or len(means) != len(channels) or not all(1 <= mean <= LONGEST for mean in means):
            allowed = f"must be one number from 1 to 1e9 for each of the {len(channels)} channels (at least two)"
            raise InvalidValue("mean_frames", means, allowed)
        if interruption_frames < 0:
            raise InvalidValue("interruption_frames", interruption_frames, "must be 0 frames or more")
        self.mean_frames, self.interruption_frames = means, interruption_frames
        shares, stay = np.array(means) / sum(means), 1 - 1 / np.array(means)
        others = (1 - np.eye(len(means))) / (len(means) - 1)
        self._chain = LossChain(np.diag(stay) + (1 - stay)[:, None] * others, np.zeros(len(means)), shares)
        served = shares * stay**interruption_frames
        interrupted = 1 - float(served.sum()) if interruption_frames else 0.0
        self.error_rate = interrupted + float(served @ [channel.error_rate for channel in channels])
        super().__init__(channels, interrupted + float(served @ [channel.lost_share for channel in channels]))
        self.family = f"switching({', '.join(channel.family for channel in channels)})"
        suffix = f"-interruption{interruption_frames}" if interruption_frames else ""
        parts = [f"{channel.name} x {mean:g}" for channel, mean in zip(channels, means, strict=True)]
        self.name = f"switching({', '.join(parts)}){suffix}"

    def with_known_error_rate(self) -> Channel:
        known = [channel.with_known_error_rate() for channel in self.channels]
        return SwitchingChannel(known, self.mean_frames, interruption_frames=self.interruption_frames)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        check_frames(bits)
        if not bits.numel():
            return bits.clone()
        frames, before = bits.shape[-2], self.interruption_frames
        clips = []
        for clip in bits.reshape(-1, *bits.shape[-2:]):
            seeds = torch.randint(2**62, (len(self.channels),), generator=generator).tolist()
            states = self._chain.draw_states(frames + before, generator)
            outputs = [
                channel(clip, torch.Generator().manual_seed(seed))
                for channel, seed in zip(self.channels, seeds, strict=True)
            ]
            if before or any(output.is_floating_point() for output in outputs):
                outputs = [
                    output if output.is_floating_point() else decision_probabilities(output, channel.error_rate)
                    for channel, output in zip(self.channels, outputs, strict=True)
                ]
            chosen = torch.stack(outputs)[states[before:].to(bits.device), torch.arange(frames, device=bits.device)]
            if before:
                constant = states.unfold(0, before + 1, 1)  # [F, g + 1]
                chosen = mark_lost(chosen, (constant != constant[:, -1:]).any(1, keepdim=True))
            clips.append(chosen)
        if any(clip.is_floating_point() for clip in clips):
            clips = [clip.float() for clip in clips]
        return torch.stack(clips).view(bits.shape)


def _flip_rate(channel: Channel) -> float:
    """Probability that a bit which is not lost is wrong."""
    arrived = 1.0 - channel.lost_share
    return (channel.error_rate - channel.lost_share) / arrived if arrived > 0 else 0.0


def _either(first: float, second: float) -> float:
    """Probability that exactly one of two independent flips happens."""
    return first + second - 2.0 * first * second


def _blurred(probabilities: Tensor, flip_rate: float) -> Tensor:
    """Probabilities of a one behind flips of a known rate: p + ε (1 − 2p), inside (0, 1) unless ε is 0 or 1."""
    if flip_rate == 0.0:
        return probabilities
    blurred = (probabilities.double() + flip_rate * (1.0 - 2.0 * probabilities.double())).float()
    return blurred if flip_rate == 1.0 else uncertain(blurred)
