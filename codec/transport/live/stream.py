"""A stream as a receiver has it: which packets are its own, and what its header says of decoding them."""

import time
from typing import Any, NamedTuple

from torch import Tensor

from codec.channels.link import Connection, Link
from codec.channels.receiving.concealment import RepeatLast
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.transport.blocks import BlockFormat, connect
from codec.transport.fingerprint import fingerprint
from codec.transport.header import Layout, StreamHeader, read_header
from codec.transport.live.coding import Fading, LiveDecoder
from codec.transport.live.playout import Playout
from codec.transport.packets import Packet

Address = tuple[Any, ...]  # of a socket: host, port and, of IPv6, two numbers more


class Format(NamedTuple):
    """How a stream's packets are read, from its header."""

    header: StreamHeader
    blocks: BlockFormat
    connection: Connection


class FormatReader:
    """Reads headers of streams for one codec.

    Args:
        codec: decodes.
        link: concealment and prior; its index map and error correction are left aside, as the stream's own count.

    Raises:
        InvalidValue: the concealment or the prior does not fit the codec.
    """

    def __init__(self, codec: NeuralCodec, link: Link) -> None:
        concealment = link.concealment or RepeatLast()
        self.link = Link(concealment=concealment, prior=link.prior, known_error_rate=link.known_error_rate)
        self.link.connect(codec.quantizer)
        self.codec, self._fingerprint = codec, fingerprint(codec)
        self._last: tuple[bytes, Format] | None = None

    def read(self, data: bytes) -> Format:
        """The format that a header states.

        Raises:
            UserError: it is damaged, of another codec, of no live stream, or states what cannot be built.
        """
        if self._last is not None and self._last[0] == data:
            return self._last[1]
        header = read_header(data)
        own = tuple(self.codec.quantizer.codebook_sizes), self.codec.sample_rate, self.codec.hop_length
        if header.fingerprint != self._fingerprint or own != (
            header.codebook_sizes,
            header.sample_rate,
            header.hop_length,
        ):
            allowed = f"is of another codec, of fingerprint {header.fingerprint.hex()}"
            raise InvalidValue("The stream that arrives", None, allowed, "name the sender's with --codec")
        if header.layout is not Layout.PACKETS:
            raise InvalidValue("The stream that arrives", None, "is not in packets")
        found = Format(header, BlockFormat(header), connect(header, self.codec.quantizer, self.link))
        self._last = data, found
        return found


class Stream:
    """One sender's stream.

    Attributes:
        number: of its packets.
        address: they come from.
        ends_at: number of frames in all; None before its end came.
        heard_at: when its latest packet came.
    """

    def __init__(self, number: int, address: Address, format: Format, decoder: LiveDecoder, playout: Playout) -> None:
        self.number, self.address, self.format = number, address, format
        self.decoder, self.playout = decoder, playout
        self.fading = Fading(playout.frame_seconds)
        self.ends_at: int | None = None
        self.heard_at = time.monotonic()

    @property
    def has_ended(self) -> bool:
        """Whether all of it was played."""
        position = self.playout.position
        return self.ends_at is not None and (position is None or position >= self.ends_at)

    def is_silent(self, now: float, after: float) -> bool:
        """Whether no packet came for some seconds."""
        return now - self.heard_at > after

    def rows(self, packet: Packet) -> Tensor:
        """Payload bits of a packet's frames, float32 `[F, n]`."""
        blocks = self.format.blocks
        return blocks.payload(blocks.unpack(packet.payload, packet.frames)).float()
