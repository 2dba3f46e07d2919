"""Channels that lose whole frames: erasures and packets, one by one or in bursts."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from codec.channels.base import Channel, check_frames, check_share, mark_lost
from codec.channels.bit_errors import markov_states, shortest_burst
from codec.errors import InvalidValue


class PacketChannel(Channel):
    """Loses packets of several frames; the receiver knows which ones (an erasure channel).

    A subclass sets the attributes of `Channel` and draws a clip's lost packets in `_lost`. Each clip of `[..., F, n]`
    is drawn by itself. All bits of a lost packet are returned as 0.5; the rest arrive without errors, as float32.

    Args:
        frames_per_packet: consecutive frames that travel together; the last packet of a clip may hold fewer.

    Raises:
        InvalidValue: a packet has no frame; when called, bits without a frame axis.
    """

    def __init__(self, frames_per_packet: int) -> None:
        if frames_per_packet < 1:
            raise InvalidValue("frames_per_packet", frames_per_packet, "must be at least 1")
        self.frames_per_packet = frames_per_packet

    @property
    def delay_frames(self) -> int:
        """Frames for which the first one of a packet waits until the packet is complete."""
        return self.frames_per_packet - 1

    @property
    def lost_share(self) -> float:
        """Expected share of bits lost: the error rate, since what arrives is right."""
        return self.error_rate

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        check_frames(bits)
        if not bits.numel():
            return bits.float()
        *batch, frames, _ = bits.shape
        packets = -(-frames // self.frames_per_packet)
        clips = [self._lost(packets, generator) for _ in range(int(torch.Size(batch).numel()))]
        lost = torch.stack(clips).repeat_interleave(min(self.frames_per_packet, max(frames, 1)), 1)[:, :frames]
        return mark_lost(bits, lost.view(*batch, frames, 1))

    @abstractmethod
    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        """Draw which of a clip's packets are lost: bool `[packets]`."""


class PacketLossChannel(PacketChannel):
    """Loses packets independently with probability p = `loss_rate`, or in bursts by Gilbert's two-state chain.

    The chain's bad state, in which every packet is lost, has stationary probability p and mean length `burst_length`.

    >>> PacketLossChannel(1.0, 2)(torch.ones(1, 3, 2, dtype=torch.uint8), torch.Generator()).tolist()
    [[[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]]]

    Args:
        loss_rate: expected share of packets lost.
        frames_per_packet: consecutive frames that travel together; the last packet may hold fewer.
        burst_length: mean number of packets lost in a row; None for independent losses. Realisations are nested, a
            packet lost at one rate is lost at every higher rate; in bursts as in `GilbertElliottChannel`.

    Raises:
        InvalidValue: the rate is outside [0, 1], a packet has no frame, or the bursts are too short to reach the rate;
            when called, bits without a frame axis.
    """

    family = "packet-loss"

    def __init__(self, loss_rate: float, frames_per_packet: int = 4, *, burst_length: float | None = None) -> None:
        self.error_rate = check_share("loss_rate", loss_rate)
        super().__init__(frames_per_packet)
        shortest = shortest_burst(self.error_rate)
        if burst_length is not None and not shortest <= burst_length * (1 + 1e-9) < math.inf:
            allowed = f"must be at least {shortest:g} losses at this rate, or null"
            raise InvalidValue("burst_length", burst_length, allowed)
        self.burst_length = burst_length
        size = f"-{frames_per_packet}" if frames_per_packet > 1 else ""
        self._kind = f"{self.family}{size}" + ("" if burst_length is None else f"-burst{burst_length:g}")
        self.name = f"{self._kind}-{loss_rate:g}"

    @property
    def curve(self) -> str:
        return self._kind

    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        """Draw which of a clip's packets are lost: bool `[packets]`."""
        if self.burst_length is None:
            return torch.rand(packets, generator=generator, dtype=torch.float64) < self.error_rate
        return markov_states(packets, self.error_rate, self.burst_length, generator)


class FrameErasureChannel(PacketLossChannel):
    """Loses single frames, independently or in bursts: `PacketLossChannel` with one frame a packet.

    Args:
        frame_erasure_rate: expected share of frames lost.
        burst_length: mean number of frames lost in a row; None for independent losses.

    Raises:
        InvalidValue: as `PacketLossChannel`.
    """

    family = "frame-erasure"

    def __init__(self, frame_erasure_rate: float, burst_length: float | None = None) -> None:
        check_share("frame_erasure_rate", frame_erasure_rate)
        super().__init__(frame_erasure_rate, 1, burst_length=burst_length)
