"""Packets in any order to blocks in the order of their frames: late, doubled, foreign and lost ones are counted."""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from codec.transport.packets import Packet

WINDOW = 16  # packets that may overtake another


class Span(NamedTuple):
    """Consecutive frames of a stream.

    Attributes:
        frames: their number.
        payload: their bytes; None where they were lost.
    """

    frames: int
    payload: bytes | None


@dataclass
class Arrivals:
    """What a receiver counted of packets.

    Attributes:
        packets: that came with frames and were used.
        late: that came after their frames' turn, or twice.
        foreign: of another stream, of a size that does not fit, or beyond the stream's end or the longest gap.
        damaged: whose payload did not match its checksum.
        lost_frames: of which no packet came in time.
        skipped_bytes: that belong to no packet.
    """

    packets: int = 0
    late: int = 0
    foreign: int = 0
    damaged: int = 0
    lost_frames: int = 0
    skipped_bytes: int = 0


class Reordering:
    """Puts packets into the order of their frames.

    A packet waits until `window` later ones have come, or the stream ends. Frames between the packets passed on are
    lost. What is held is bounded by the window.

    Args:
        window: packets that may overtake another, at least 0.
        longest_gap: frames lost in a row, at most; a packet further ahead is taken for a foreign one.
    """

    def __init__(self, *, window: int = WINDOW, longest_gap: int = 2**32) -> None:
        self.window, self.longest_gap, self.arrivals = window, longest_gap, Arrivals()
        self.next = 0
        self._held: list[tuple[int, int, Packet]] = []
        self._count = 0

    def push(self, packet: Packet) -> Iterator[Span]:
        """The spans that a further packet completes."""
        if packet.first < self.next or any(packet.first == first for first, _, _ in self._held):
            self.arrivals.late += 1
            return
        if packet.first - self.next > self.longest_gap:
            self.arrivals.foreign += 1
            return
        self._count += 1
        heapq.heappush(self._held, (packet.first, self._count, packet))
        while len(self._held) > self.window:
            yield from self._pop()

    def finish(self, frames: int | None = None) -> Iterator[Span]:
        """The spans of what is held at the end.

        Args:
            frames: of the whole stream, where that is known: lost ones at its end are made up for up to `longest_gap`.
        """
        while self._held:
            yield from self._pop()
        if frames is not None and 0 < frames - self.next <= self.longest_gap:
            yield self._lost(frames - self.next)

    def _pop(self) -> Iterator[Span]:
        packet = heapq.heappop(self._held)[2]
        if packet.first < self.next:
            self.arrivals.late += 1
            return
        if packet.first > self.next:
            yield self._lost(packet.first - self.next)
        self.arrivals.packets += 1
        self.next = packet.first + packet.frames
        yield Span(packet.frames, packet.payload)

    def _lost(self, frames: int) -> Span:
        self.arrivals.lost_frames += frames
        self.next += frames
        return Span(frames, None)
