"""Channels that lose whole frames: erasures and packets, one by one or in bursts."""

import math

import torch
from torch import Tensor

from codec.channels.base import Channel, check_share, lose
from codec.channels.bit_errors import markov_states, shortest_burst


class PacketLossChannel(Channel):
    """Loses packets of several frames; the receiver knows which.

    Args:
        loss_rate: expected share of packets lost.
        frames_per_packet: consecutive frames that travel together; the last packet may hold fewer.
        burst_length: mean number of packets lost in a row (Gilbert's two-state chain); None for independent losses,
            which draw nested sets at rising rates.

    Raises:
        ValueError: the rate is outside [0, 1], a packet has no frame, or the bursts are too short to reach the rate.
    """

    family = "packet-loss"

    def __init__(self, loss_rate: float, frames_per_packet: int = 4, *, burst_length: float | None = None) -> None:
        self.error_rate = check_share("loss_rate", loss_rate)
        if frames_per_packet < 1:
            raise ValueError(f"frames_per_packet {frames_per_packet} must be at least 1.")
        shortest = shortest_burst(self.error_rate)
        if burst_length is not None and not shortest <= burst_length * (1 + 1e-9) < math.inf:
            raise ValueError(f"burst_length {burst_length} must be at least {shortest:g} losses at this rate, or null.")
        self.frames_per_packet, self.burst_length = frames_per_packet, burst_length
        size = f"-{frames_per_packet}" if frames_per_packet > 1 else ""
        self._kind = f"{self.family}{size}" + ("" if burst_length is None else f"-burst{burst_length:g}")
        self.name = f"{self._kind}-{loss_rate:g}"

    @property
    def curve(self) -> str:
        return self._kind

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        if bits.ndim < 2:
            raise ValueError(f"bits of shape {list(bits.shape)} must be [..., F, n], one frame of n bits a row.")
        *batch, frames, _ = bits.shape
        packets = -(-frames // self.frames_per_packet)
        items = [self._lost(packets, generator) for _ in range(int(torch.Size(batch).numel()))]
        lost = torch.stack(items).repeat_interleave(self.frames_per_packet, 1)[:, :frames]
        return lose(bits, lost.view(*batch, frames, 1))

    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        if self.burst_length is None:
            return torch.rand(packets, generator=generator, dtype=torch.float64) < self.error_rate
        return markov_states(packets, self.error_rate, self.burst_length, generator)


class FrameErasureChannel(PacketLossChannel):
    """Loses single frames, independently or in bursts of a mean length; the receiver knows which.

    Args:
        frame_erasure_rate: expected share of frames lost.
        burst_length: mean number of frames lost in a row; None for independent losses.

    Raises:
        ValueError: as `PacketLossChannel`.
    """

    family = "frame-erasure"

    def __init__(self, frame_erasure_rate: float, burst_length: float | None = None) -> None:
        check_share("frame_erasure_rate", frame_erasure_rate)
        super().__init__(frame_erasure_rate, 1, burst_length=burst_length)
