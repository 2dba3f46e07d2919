"""Packets of a stream: frames with the number of the first, checksums, and how packets are found among bytes."""

import binascii
import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from codec.errors import InvalidValue

SYNC = 0x4E53
VERSION = 1
FIELDS = struct.Struct(">HBBHIH")
HEAD = FIELDS.size + 2  # bytes before the payload, with their CRC-16
HAS_CRC, IS_END, IS_HEADER = 1, 2, 4  # flags
LARGEST_FRAME = 2**32 - 1
LENGTH_BYTES = 8


class Packet(NamedTuple):
    """Some consecutive frames of a stream, its header, or its end.

    Attributes:
        stream: 16 bits that tell a sender's streams apart.
        first: number of the first frame, from 0; at the end that of the frame that would follow.
        frames: number of frames, 0 of a header or an end.
        payload: their bits, padded to whole bytes by zeros; of a header its bytes, of an end the samples of the whole
            input, 8 bytes.
        is_header: whether the payload is a `StreamHeader`.
        is_end: whether the stream ends here.
    """

    stream: int
    first: int
    frames: int
    payload: bytes
    is_header: bool = False
    is_end: bool = False

    @property
    def length(self) -> int | None:
        """Of an end, the samples of the whole input; None where its payload is of another size."""
        return int.from_bytes(self.payload, "big") if len(self.payload) == LENGTH_BYTES else None

    def pack(self, *, crc: bool = False) -> bytes:
        """Its bytes: 14 of head, the payload and, with `crc`, a CRC-32 of both.

        Raises:
            InvalidValue: a field does not fit into its place.
        """
        flags = VERSION << 4 | HAS_CRC * crc | IS_END * self.is_end | IS_HEADER * self.is_header
        try:
            head = FIELDS.pack(SYNC, flags, self.frames, self.stream, self.first, len(self.payload))
        except struct.error as error:
            allowed = "must have at most 255 frames and 65,535 bytes"
            raise InvalidValue(
                "A packet", f"of {self.frames} frames", allowed, "put fewer frames in a packet"
            ) from error
        head += struct.pack(">H", binascii.crc_hqx(head, 0xFFFF))
        data = head + self.payload
        return data + struct.pack(">I", zlib.crc32(data)) if crc else data


def end_packet(stream: int, frames: int, length: int) -> Packet:
    """The end of a stream of so many frames, from `length` samples of input."""
    return Packet(stream, frames, 0, length.to_bytes(LENGTH_BYTES, "big"), is_end=True)


class Found(NamedTuple):
    """Result of looking for a packet at a place in some bytes.

    Attributes:
        size: bytes that the packet takes, 0 where none begins here, and -1 where more bytes are needed to tell.
        packet: None where none begins here, or where its payload is damaged.
    """

    size: int
    packet: Packet | None


def find_packet(data: bytes | bytearray | memoryview, start: int = 0) -> Found:
    """The packet that begins at `start`.

    A damaged head is no packet; a damaged payload (its CRC-32 does not match) gives the size without a packet.
    """
    if len(data) - start < HEAD:
        return Found(-1, None)
    sync, flags, frames, stream, first, size = FIELDS.unpack_from(data, start)
    head = bytes(data[start : start + HEAD])
    if sync != SYNC or flags >> 4 != VERSION or binascii.crc_hqx(head[:-2], 0xFFFF) != int.from_bytes(head[-2:], "big"):
        return Found(0, None)
    has_crc = flags & HAS_CRC
    whole = HEAD + size + 4 * has_crc
    if len(data) - start < whole:
        return Found(-1, None)
    payload = bytes(data[start + HEAD : start + HEAD + size])
    if has_crc and zlib.crc32(head + payload) != int.from_bytes(data[start + whole - 4 : start + whole], "big"):
        return Found(whole, None)
    return Found(whole, Packet(stream, first, frames, payload, bool(flags & IS_HEADER), bool(flags & IS_END)))


class PacketScanner:
    """Finds packets in bytes that arrive in pieces, passing over what is none.

    Attributes:
        damaged: packets whose payload did not match its CRC-32.
        skipped: bytes that belong to no packet.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self.damaged = self.skipped = 0

    def push(self, data: bytes, *, last: bool = False) -> Iterator[Packet]:
        """The packets that further bytes complete; with the last ones, what is left is passed over."""
        self._held += data
        place = 0
        while place < len(self._held):
            size, packet = find_packet(self._held, place)
            if size < 0 and not last:
                break
            if size <= 0:
                place, self.skipped = place + 1, self.skipped + 1
                continue
            place += size
            if packet is None:
                self.damaged += 1
            else:
                yield packet
        del self._held[:place]
