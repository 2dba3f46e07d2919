"""A channel that carries entropy-coded codes: one wrong bit makes what follows it in its packet wrong."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from codec.channels.base import Channel, ChannelAround, check_frames, decide, mark_lost
from codec.channels.entropy_coding.coder import Packet, PacketCoder
from codec.channels.receiving.reception import Reception
from codec.errors import InvalidValue


class Codewords(Protocol):
    """Codes to fixed-length codewords and back, as `codec.channels.link.Connection` does."""

    def send(self, codes: Tensor) -> Tensor:
        """Codes int64 `[B, K, F]` to bits uint8 `[B, F, n]`."""

    def receive(self, bits: Tensor) -> Reception:
        """Bits `[B, F, n]` to codes."""


class EntropyCodedChannel(ChannelAround):
    """Takes the codes out of their codewords, sends them entropy-coded through a channel, and puts them back.

    The bits of a packet are spread evenly over rows, one for each of its frames, so that a channel that draws once a
    frame loses rows of the packet's own time; all rows have the same width, and unused places count as not sent. The
    receiver decides each bit. Of a packet with lost bits it keeps the frames that come out the same whether all bits
    from the first lost one on are zeros or ones, which no later bit can change; the others are lost. So are the frames
    from where no code fits what was received. How many frames a packet has, and where it begins, is known.

    `channel_bits` depends on the codes, and so is refused: ask `sent_bits`.

    Args:
        channel: carries the coded bits.
        coder: fitted to the codec.
        codewords: of the codec's link.
    """

    def __init__(self, channel: Channel, coder: PacketCoder, codewords: Codewords) -> None:
        self.channel, self.coder, self.codewords = channel, coder, codewords
        self.family, self.error_rate = channel.family, channel.error_rate
        self._suffix = f"+{coder.code.name}"
        self.name = f"{channel.name}{self._suffix}"

    @property
    def curve(self) -> str:
        return f"{self.channel.curve}{self._suffix}"

    @property
    def by_frame(self) -> bool:
        """No: bits of frames depend on each other."""
        return False

    @property
    def delay_frames(self) -> int:
        """P − 1 frames until a packet is complete, and the delay of the channel inside.

        Of one stream a clip it is not counted: at a constant rate on the channel it would be that of a buffer.
        """
        return (self.coder.code.packet_frames or 1) - 1 + self.channel.delay_frames

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Refused.

        Raises:
            InvalidValue: always.
        """
        raise InvalidValue(
            f"The bits that {self.name} sends",
            allowed="depend on the codes, not on the number of frames alone",
            remedy="ask sent_bits, and put no other code around it",
        )

    def sent_bits(self, bits: Tensor) -> int:
        """Bits that cross the channel for a clip's codewords uint8 `[F, n]`, those of the packets' lengths included."""
        packets = self._packets(bits)
        header = sum(self.coder.header_bits(packet) for packet in packets)
        held = np.bincount(_rows(packets), minlength=len(bits))  # bits of each row
        if not self.channel.by_frame:
            return header + self.channel.channel_bits(len(bits), max(int(held.max(initial=0)), 1))
        return header + sum(self.channel.channel_bits(1, int(count)) for count in held if count)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit uint8 codewords `[..., F, n]`, each clip of F frames by itself.

        Returns:
            The same shape: uint8 decisions, or where frames are lost float32, 0.5 for all bits of these.
        """
        check_frames(bits)
        if not bits.numel():
            return bits.clone()
        clips = bits.reshape(-1, *bits.shape[-2:])
        received = [self._transmit(clip.cpu(), generator) for clip in clips]
        if any(clip.is_floating_point() for clip in received):
            received = [clip.float() for clip in received]
        return torch.stack(received).view(bits.shape).to(bits.device)

    def _packets(self, bits: Tensor) -> list[Packet]:
        return self.coder.packets(self.codewords.receive(bits[None].cpu()).codes[0].numpy())

    def _transmit(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        packets = self._packets(bits)
        rows = _rows(packets)
        columns = np.arange(len(rows)) - np.searchsorted(rows, rows)
        width = int(columns.max(initial=0)) + 1
        sent = torch.zeros(len(bits), width, dtype=torch.uint8)
        sent[rows, columns] = torch.from_numpy(np.concatenate([packet.bits for packet in packets]))
        decided, lost = (part.numpy() for part in decide(self.channel(sent, generator)))
        return self._received(packets, decided[rows, columns], lost[rows, columns], bits)

    def _received(self, packets: Sequence[Packet], decided: np.ndarray, lost: np.ndarray, like: Tensor) -> Tensor:
        """Codewords `[F, n]` of the packets' received bits, one packet behind the other."""
        found, missing, start = [], np.zeros(len(like), dtype=bool), 0
        for packet in packets:
            stop = start + len(packet.bits)
            codes = received_codes(self.coder, packet._replace(bits=decided[start:stop]), lost[start:stop])
            rest = packet.frames - codes.shape[1]
            missing[packet.first + codes.shape[1] : packet.first + packet.frames] = True
            found.append(np.pad(codes, ((0, 0), (0, rest))))
            start = stop
        codewords = self.codewords.send(torch.from_numpy(np.concatenate(found, 1))[None])[0]  # [F, n]
        return mark_lost(codewords, torch.from_numpy(missing)[:, None]) if missing.any() else codewords


def received_codes(coder: PacketCoder, packet: Packet, lost: np.ndarray) -> np.ndarray:
    """Codes int64 `[K, f]` of a packet whose bits are lost where bool `[N]`: the frames that no lost bit can change."""
    if not lost.any():
        return coder.codes(packet)
    first = int(lost.argmax())
    ends = []
    for fill in (0, 1):
        bits = packet.bits.copy()
        bits[first:] = fill
        ends.append(coder.codes(packet._replace(bits=bits)))
    frames = min(found.shape[1] for found in ends)
    differ = np.flatnonzero((ends[0][:, :frames] != ends[1][:, :frames]).any(0))
    return ends[0][:, : differ[0] if len(differ) else frames]


def _rows(packets: Sequence[Packet]) -> np.ndarray:
    """Row of each bit, packet by packet: evenly over the rows of its frames, in order."""
    spread = [p.first + np.arange(len(p.bits)) * p.frames // max(len(p.bits), 1) for p in packets]
    return np.concatenate([*spread, np.zeros(0, dtype=np.int64)])
