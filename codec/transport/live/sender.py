"""The sending side of a call: speech to packets at the pace of speech, with the stream's header again and again."""

import secrets
import threading
import time
from collections.abc import Callable

import torch
from torch import Tensor

from codec.channels.link import Link
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.transport.blocks import BlockFormat
from codec.transport.header import StreamHeader
from codec.transport.live.coding import LOOK_AHEAD, LiveEncoder
from codec.transport.live.devices import Source
from codec.transport.live.statistics import SenderStatistics
from codec.transport.packets import Packet, end_packet

LARGEST_DATAGRAM = 1400  # bytes of a packet with frames: what a link of 1500 carries undivided
HEADER_EVERY = 1.0  # seconds
FIRST_HEADERS = 3  # with the first packets, as any may be lost
ENDS, END_EVERY = 3, 0.02  # end packets, seconds apart


class Sender:
    """Encodes a source and sends each packet when its speech, and the encoder's look-ahead, was spoken.

    Attributes:
        statistics: counted so far.
        stream: number of this call's packets, drawn at random.

    Args:
        codec: encodes.
        header: of the stream, in packets, `codec.transport.blocks.stream_header`.
        link: whose index map and error correction the header states.
        send: takes a datagram; returns whether the system took it.
        look_ahead: see `LiveEncoder`.

    Raises:
        InvalidValue: a packet would be larger than 1,400 bytes.
    """

    def __init__(
        self,
        codec: NeuralCodec,
        header: StreamHeader,
        link: Link,
        send: Callable[[bytes], bool],
        *,
        look_ahead: int = LOOK_AHEAD,
    ) -> None:
        self.codec, self.header, self.stream = codec, header, secrets.randbelow(2**16)
        self.format, self._send = BlockFormat(header), send
        self._connection = Link(index_map=link.index_map).connect(codec.quantizer)
        self.encoder = LiveEncoder(codec, header.block_frames, look_ahead=look_ahead)
        codec.encode(torch.zeros(1, 1, 50 * codec.hop_length, device=codec.device))  # the first time takes longer
        empty = Packet(self.stream, 0, 0, bytes(self.format.sent_bytes(header.block_frames)))
        size = len(empty.pack(crc=header.has_crc))
        if size > LARGEST_DATAGRAM:
            allowed = f"make packets of {size} bytes, {LARGEST_DATAGRAM} at most are sent undivided"
            raise InvalidValue("packet_frames", header.block_frames, allowed, "put fewer frames in a packet")
        self.statistics = SenderStatistics(delay_ms=round(self.encoder.delay * 1000, 1))
        self._samples = self._headers = 0
        self._last_header = 0.0

    def run(self, source: Source, stop: threading.Event) -> None:
        """Send a source to its end, or until `stop` is set, and the stream's end."""
        counts, size = self.statistics, self.encoder.packet_samples
        duration = size / self.codec.sample_rate
        for piece in source.pieces(size, stop):
            now = time.monotonic()
            counts.spoken = (self._samples // self.codec.hop_length, now - source.behind - duration)
            counts.behind_ms = max(counts.behind_ms, source.behind * 1000)
            self._samples += piece.shape[-1]
            for codes in self.encoder.push(piece.to(self.codec.device)):
                self._send_codes(codes)
            counts.encoding_ms = max(counts.encoding_ms, (time.monotonic() - now) * 1000)
        for codes in self.encoder.finish():
            stop.wait(duration)
            self._send_codes(codes)
        end = end_packet(self.stream, counts.frames, self._samples)
        for _ in range(ENDS):
            self._put(end)
            time.sleep(END_EVERY)

    def _send_codes(self, codes: Tensor) -> None:
        counts, now = self.statistics, time.monotonic()
        if counts.packets < FIRST_HEADERS or now - self._last_header >= HEADER_EVERY:
            self._put(Packet(self.stream, 0, 0, self.header.pack(), is_header=True))
            self._last_header = now
        rows = self.format.rows(self._connection.send(codes.cpu())[0])
        self._put(Packet(self.stream, counts.frames, len(rows), self.format.pack(rows)))
        counts.packets += 1
        counts.frames += len(rows)

    def _put(self, packet: Packet) -> None:
        data = packet.pack(crc=self.header.has_crc)
        taken = self._send(data)
        self.statistics.datagrams += taken
        self.statistics.bytes += len(data) * taken
        self.statistics.failed += not taken
