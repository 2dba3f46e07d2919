"""Streams of codes in memory, and what readers make of them."""

import io
from dataclasses import replace

import torch
from torch import Tensor

from codec import Link, NeuralCodec
from codec.transport.blocks import stream_header
from codec.transport.header import Layout, StreamHeader
from codec.transport.reading import StreamReader
from codec.transport.writing import StreamWriter


class Pipe(io.RawIOBase):
    """Bytes that cannot be sought in, read a few at a time as from a pipe."""

    def __init__(self, data: bytes = b"", most: int = 2**30) -> None:
        self.data, self.most = bytearray(data), most

    def seekable(self) -> bool:
        return False

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def read(self, count: int = -1) -> bytes:
        count = min(self.most, len(self.data) if count < 0 else count)
        taken = bytes(self.data[:count])
        del self.data[:count]
        return taken

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def payload_of(frames: int, bits: int, seed: int = 0) -> Tensor:
    """Random bits uint8 `[F, n]`."""
    return torch.randint(2, (frames, bits), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def written(
    codec: NeuralCodec, payload: Tensor, *, link: Link | None = None, piece: int = 7, length: int | None = None,
    pipe: bool = False, known: bool = False, layout: Layout | None = None, **options: int,
) -> bytes:  # fmt: skip
    """A stream of payload bits, written in pieces."""
    header = stream_header(codec, link or Link(), **options)  # type: ignore[arg-type]
    header = header if layout is None else replace(header, layout=layout)
    length = len(payload) * codec.hop_length if length is None else length
    header = replace(header, length=length) if known else header
    file = Pipe() if pipe else io.BytesIO()
    writer = StreamWriter(file, header)  # type: ignore[arg-type]
    for part in payload.split(piece):
        writer.write(part)
    writer.finish(length)
    return bytes(file.data) if isinstance(file, Pipe) else file.getvalue()


def read(data: bytes, *, most: int = 2**30, window: int = 16) -> tuple[StreamReader, Tensor]:
    """A reader at its end, and the payload that it found, `[F, n]`."""
    reader = StreamReader(Pipe(data, most), window=window)  # type: ignore[arg-type]
    found = list(reader.payload())
    return reader, torch.cat(found) if found else torch.zeros(0, reader.header.frame_bits)


def packets_of(data: bytes, header: StreamHeader) -> list[bytes]:
    """The packets behind a header, each with its bytes."""
    from codec.transport.packets import find_packet

    place, found = len(header.pack()), []
    while place < len(data):
        size = find_packet(data, place).size
        assert size > 0
        found.append(data[place : place + size])
        place += size
    return found
