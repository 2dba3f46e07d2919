"""Writes a stream of codes: header, then frames or packets as they come, and the length at the end."""

import binascii
import io
import struct
import zlib
from dataclasses import replace
from typing import BinaryIO

import torch
from torch import Tensor

from codec.errors import InvalidValue
from codec.transport.blocks import BlockFormat
from codec.transport.header import Layout, StreamHeader
from codec.transport.packets import LARGEST_FRAME, Packet, end_packet

WRITTEN_FRAMES = 1600  # at a time where a stream has no blocks; a multiple of 8, so of whole bytes


class StreamWriter:
    """Writes a stream's header, its frames as they come, and its end.

    Where the length is not known before and the file can be sought in, the header is completed at the end; in a pipe
    the length follows the frames.

    Attributes:
        header: as written.
        frames: written so far.
        bytes: of frames, with what packets add.

    Args:
        file: open for writing, at the place where the stream begins.
        header: of the stream.
    """

    def __init__(self, file: BinaryIO, header: StreamHeader) -> None:
        self.file, self.frames, self.bytes = file, 0, 0
        self._start = _place(file)
        self._completed_later = header.length is None and self._start is not None
        self.header = replace(header, length=0) if self._completed_later else header
        self.format = BlockFormat(self.header)
        self._held: Tensor | None = None
        packed = self.header.pack()
        self._stream = stream_number(self.header)
        file.write(packed)

    def write(self, payload: Tensor) -> None:
        """Write further frames.

        Args:
            payload: bits uint8 `[F, n]`, any number of frames.
        """
        held = payload if self._held is None else torch.cat((self._held, payload))
        size = self._block
        while len(held) >= size:
            self.write_rows(self.format.rows(held[:size]))
            held = held[size:]
        self._held = held

    def write_rows(self, rows: Tensor, *, first: int | None = None, sent: Tensor | None = None) -> None:
        """Write a block as it is sent, `BlockFormat.rows`: uint8 or probabilities `[F, m]`.

        Every block but the last must have the header's `block_frames`; without blocks, a multiple of 8 frames.

        Args:
            rows: of the block.
            first: number of its first frame; by default that after the last one written.
            sent: the rows as the sender had them, of whose packet the CRC-32 is; by default the same.

        Raises:
            InvalidValue: more than 2^32 − 1 frames in packets.
        """
        layout, first = self.header.layout, self.frames if first is None else first
        if layout is Layout.PROBABILITIES:
            self.file.write(self.format.pack_probabilities(rows))
        elif layout is Layout.FRAMES:
            self.bytes += self.file.write(self.format.pack(rows))
        else:
            packet = Packet(self._stream, first, len(rows), self.format.pack(rows))
            if first + len(rows) > LARGEST_FRAME:
                raise InvalidValue("frames", first + len(rows), f"must be at most {LARGEST_FRAME} in packets")
            data = packet.pack(crc=self.header.has_crc)
            if self.header.has_crc and sent is not None:
                data = data[:-4] + packet._replace(payload=self.format.pack(sent)).pack(crc=True)[-4:]
            self.bytes += len(data)
            self.put(data)
        self.frames = first + len(rows)

    def put(self, packet: bytes) -> None:
        """Write the bytes of a packet with frames."""
        self.file.write(packet)

    def finish(self, length: int) -> None:
        """Write what is held back, and the stream's length.

        Args:
            length: samples of the input.
        """
        if self._held is not None and len(self._held):
            self.write_rows(self.format.rows(self._held))
            self._held = None
        if self.header.layout is Layout.PACKETS:
            end = end_packet(self._stream, self.frames, length)
            self.file.write(end.pack(crc=self.header.has_crc))
        elif self.header.has_trailer:
            self.file.write(trailer(length))
        if self._completed_later:
            assert self._start is not None
            self.header = replace(self.header, length=length)
            self.file.seek(self._start)
            self.file.write(self.header.pack())
            self.file.seek(0, io.SEEK_END)
        self.file.flush()

    @property
    def _block(self) -> int:
        return self.header.block_frames or WRITTEN_FRAMES


def trailer(length: int) -> bytes:
    """The 12 bytes behind the frames of a stream whose length was not known: samples, and a CRC-32 of them."""
    data = struct.pack(">Q", length)
    return data + struct.pack(">I", zlib.crc32(data))


def trailer_length(data: bytes) -> int | None:
    """The length that 12 bytes state; None where their CRC-32 does not match or it is above 2^53."""
    (length,) = struct.unpack(">Q", data[:8])
    return length if zlib.crc32(data[:8]) == int.from_bytes(data[8:], "big") and length < 2**53 else None


def stream_number(header: StreamHeader) -> int:
    """The number that a file's packets have: CRC-16 of its header, with the length as not known."""
    return binascii.crc_hqx(replace(header, length=None).pack(), 0xFFFF)


def _place(file: BinaryIO) -> int | None:
    """Where a file that can be sought in stands; None of a pipe."""
    try:
        return file.tell() if file.seekable() else None
    except (OSError, ValueError):
        return None
