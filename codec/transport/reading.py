"""Reads a stream of codes block by block, whatever its layout; what is lost becomes lost frames and a count."""

from collections.abc import Iterator
from typing import BinaryIO

from torch import Tensor

from codec.transport.blocks import BlockFormat
from codec.transport.header import Layout, StreamHeader, header_size, read_header
from codec.transport.packets import Packet, PacketScanner
from codec.transport.reordering import WINDOW, Arrivals, Reordering, Span
from codec.transport.writing import WRITTEN_FRAMES, stream_number, trailer_length

READ_BYTES = 2**16
LONGEST_GAP_SECONDS = 600
TRAILER = 12


class StreamReader:
    """Reads a stream: iterate over it once for its blocks as received, rows `[F, m]` of `BlockFormat`.

    Rows are uint8; those of lost packets, and of streams of probabilities, are float32 probabilities of a one, where
    0.5 is a lost bit. Packets may be lost, doubled, and overtaken by up to `window` others; without a packet for ten
    minutes of frames, the stream counts as ended. Memory is bounded by the window, whatever the bytes.

    Attributes:
        header: of the stream.
        format: turns rows into payload.
        length: samples of the input: the header's, or once the end is read, the end's; None where no end came.
        frames: read so far.
        missing: frames that the header or the end promises and that the file does not have.
        arrivals: what was counted of packets.

    Args:
        file: open for reading, at the stream's beginning.
        error_rate: see `BlockFormat`.
        window: packets that may overtake another.

    Raises:
        UnreadableFile: no header, or one that cannot be used.
    """

    def __init__(self, file: BinaryIO, *, error_rate: float = 0.0, window: int = WINDOW) -> None:
        self._file, self._window = file, window
        start = _read(file, 10)
        self.header: StreamHeader = read_header(start + _read(file, header_size(start) - 10))
        self.format = BlockFormat(self.header, error_rate=error_rate)
        self.length, self.frames, self.missing, self.arrivals = self.header.length, 0, 0, Arrivals()

    def __iter__(self) -> Iterator[Tensor]:
        packets = self.header.layout is Layout.PACKETS
        for rows in self._packets() if packets else self._blocks():
            self.frames += len(rows)
            yield rows
        self.missing = max(0, self._expected - self.frames) if self._expected is not None else 0

    @property
    def _expected(self) -> int | None:
        """Frames of the length, as far as it is known."""
        return None if self.length is None else self.header.frame_count(self.length)

    def payload(self) -> Iterator[Tensor]:
        """The same as payload bits `[F, n]`, uint8 or probabilities."""
        return map(self.format.payload, self)

    def _blocks(self) -> Iterator[Tensor]:
        """Blocks of a stream without packets, the last one as long as the length or the bytes say."""
        size, left = self.header.block_frames or WRITTEN_FRAMES, self.header.frames
        ending = TRAILER if self.header.has_trailer else 0
        held = b""
        while left is None or left > 0:
            frames = size if left is None else min(size, left)
            whole = self._bytes(frames)
            held += _read(self._file, whole + ending - len(held))
            if len(held) < whole + ending:
                yield from self._last(held, frames)
                return
            yield self._unpack(held[:whole], frames)
            held, left = held[whole:], None if left is None else left - frames

    def _last(self, data: bytes, most: int) -> Iterator[Tensor]:
        """The last block of a stream that was not as long as stated, or whose length was not known."""
        frames = None
        if self.header.has_trailer and len(data) >= TRAILER:
            self.length = trailer_length(data[-TRAILER:])
            if self.length is not None:
                data = data[:-TRAILER]
                frames = self.header.frame_count(self.length) - self.frames
        if frames is None or not 0 <= frames <= most or self._bytes(frames) != len(data):
            frames = self._whole_frames(len(data), most)
        if frames:
            yield self._unpack(data[: self._bytes(frames)], frames)

    def _whole_frames(self, count: int, most: int) -> int:
        """The largest number of frames that `count` bytes hold."""
        low, high = 0, most
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._bytes(middle) <= count else (low, middle - 1)
        return low

    def _bytes(self, frames: int) -> int:
        if not frames:
            return 0
        probabilities = self.header.layout is Layout.PROBABILITIES
        return 4 * self.format.sent_bits(frames) if probabilities else self.format.sent_bytes(frames)

    def _unpack(self, data: bytes, frames: int) -> Tensor:
        if self.header.layout is Layout.PROBABILITIES:
            return self.format.unpack_probabilities(data, frames)
        return self.format.unpack(data, frames)

    def _packets(self) -> Iterator[Tensor]:
        gap = int(LONGEST_GAP_SECONDS * self.header.frame_rate)
        scanner, order = PacketScanner(), Reordering(window=self._window, longest_gap=gap)
        self.arrivals, stream, data = order.arrivals, stream_number(self.header), b"."
        while data:
            data = getattr(self._file, "read1", self._file.read)(READ_BYTES)  # of a pipe what is there
            for packet in scanner.push(data, last=not data):
                if packet.stream != stream or not self._fits(packet):
                    self.arrivals.foreign += 1
                elif packet.is_end:
                    self.length = packet.length
                elif not packet.is_header:
                    yield from self._spans(order.push(packet))
            self.arrivals.damaged, self.arrivals.skipped_bytes = scanner.damaged, scanner.skipped
        yield from self._spans(order.finish(self._expected))

    def _fits(self, packet: Packet) -> bool:
        """Whether a packet is of this stream and agrees with what the header states of its length."""
        if packet.is_header:
            return not packet.is_end
        if packet.is_end:
            known = self.header.length in (None, packet.length)
        else:
            known = self.header.frames is None or packet.first + packet.frames <= self.header.frames
        return known and self.format.fits(packet)

    def _spans(self, spans: Iterator[Span]) -> Iterator[Tensor]:
        """Rows of spans; lost ones in blocks."""
        for span in spans:
            if span.payload is not None:
                yield self.format.unpack(span.payload, span.frames)
                continue
            for first in range(0, span.frames, self.header.block_frames):
                yield self.format.lost_rows(min(self.header.block_frames, span.frames - first))


def _read(file: BinaryIO, count: int) -> bytes:
    """`count` bytes, or fewer at the end: a pipe gives what it has."""
    parts = []
    while count > 0 and (part := file.read(min(count, READ_BYTES * 16))):
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
