"""Loss and reordering of whole packets, as a network does them to a stream in packets."""

import heapq
from collections.abc import Iterator
from typing import BinaryIO

import torch

from codec.channels.base import check_share, draw_generator
from codec.errors import InvalidValue
from codec.transport.header import StreamHeader
from codec.transport.writing import StreamWriter


class Impairments:
    """Drops each packet with probability `loss` and delays it by 0 to `reorder` places, all independently.

    A packet is overtaken by up to `reorder` others. Losses are nested over rates: what is lost at a rate is lost at
    every higher one.

    Args:
        loss: share of packets lost, in [0, 1].
        reorder: places by which a packet is delayed at most, each number equally likely.
        seed: of the draws.
        clip_id: of the stream; each has draws of its own.

    Raises:
        InvalidValue: a number is out of range.
    """

    def __init__(self, *, loss: float = 0.0, reorder: int = 0, seed: int = 0, clip_id: str = "stream") -> None:
        self.loss, self.reorder = check_share("packet_loss", loss), reorder
        if not 0 <= reorder <= 10_000:
            raise InvalidValue("reorder", reorder, "must be 0 to 10,000 packets", "take 3")
        self._generator = draw_generator(seed, clip_id, "impairments", 0)
        self._held: list[tuple[int, int, bytes]] = []
        self.sent = self.lost = 0

    def push(self, packet: bytes) -> Iterator[bytes]:
        """The packets that leave when a further one is sent."""
        draws = torch.rand(2, generator=self._generator, dtype=torch.float64).tolist()
        place = self.sent
        self.sent += 1
        if draws[0] < self.loss:
            self.lost += 1
        else:
            delayed = place + int(draws[1] * (self.reorder + 1))
            heapq.heappush(self._held, (delayed, -place, packet))  # of two due at once the newer one leaves first
        while self._held and self._held[0][0] <= place:
            yield heapq.heappop(self._held)[2]

    def finish(self) -> Iterator[bytes]:
        """The packets still held at the end."""
        while self._held:
            yield heapq.heappop(self._held)[2]


class ImpairedWriter(StreamWriter):
    """Writes a stream whose packets pass `Impairments`; its header and end arrive."""

    def __init__(self, file: BinaryIO, header: StreamHeader, impairments: Impairments) -> None:
        super().__init__(file, header)
        self.impairments = impairments

    def put(self, packet: bytes) -> None:
        for arriving in self.impairments.push(packet):
            self.file.write(arriving)

    def finish(self, length: int) -> None:
        for arriving in self.impairments.finish():
            self.file.write(arriving)
        super().finish(length)
