"""Frames of codes to bytes and back: index map, error correction of each block, and packing without waste."""

import json
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from codec.channels.base import Channel, decision_probabilities
from codec.channels.bit_errors import BinarySymmetricChannel
from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.protection import ProtectedChannel
from codec.channels.index_maps import IndexMap, NaturalMap
from codec.channels.link import Connection, Link
from codec.codec import NeuralCodec
from codec.errors import InvalidValue, UnreadableFile, UserError, first_line
from codec.quantizers.base import Quantizer
from codec.transport.fingerprint import fingerprint
from codec.transport.header import Layout, StreamHeader
from codec.transport.index_tables import read_tables, table_text
from codec.transport.packets import LARGEST_FRAME, Packet
from codec.transport.parts import build_part, part_text, read_json

BLOCK_FRAMES = 50  # of a protected block without a wish
LARGEST_BLOCK = 2**17  # bits sent for a block


@dataclass(frozen=True)
class Protection:
    """Error correction of each block of a stream; the fields are those of `codec.Link`."""

    code: ErrorCorrection
    protected_bits: list[int] | None = None
    interleave: int = 1

    def text(self) -> str:
        """As a header states it."""
        block = {"code": json.loads(part_text(self.code))}
        block |= {"protected_bits": self.protected_bits} if self.protected_bits is not None else {}
        block |= {"interleave": self.interleave} if self.interleave > 1 else {}
        return json.dumps(block, separators=(",", ":"), sort_keys=True)

    @classmethod
    def of_text(cls, text: str) -> "Protection":
        """Read `text`.

        Raises:
            UnreadableFile: it states no protection.
        """
        block = read_json(text)
        if not isinstance(block, dict) or set(block) - {"code", "protected_bits", "interleave"}:
            raise UnreadableFile(
                "The stream's header states no protection that is known here", remedy="update this package"
            )
        bits, interleave = block.get("protected_bits"), block.get("interleave", 1)
        whole = isinstance(interleave, int) and (bits is None or isinstance(bits, list))
        if not whole or not all(isinstance(bit, int) and 0 <= bit < 2**16 for bit in bits or ()):
            raise UnreadableFile("The stream's header states a protection of wrong numbers", remedy="encode it again")
        return cls(build_part(block.get("code"), ErrorCorrection), bits, interleave)


def header_texts(link: Link, quantizer: Quantizer) -> tuple[str, str]:
    """Index map and protection of a link, as a header states them; a number of protected bits is resolved.

    Raises:
        InvalidValue: the link has a part that a stream cannot state, or does not fit the quantizer.
    """
    connection = link.connect(quantizer)
    if link.entropy_code is not None:
        allowed = "is not part of the bitstream"
        raise InvalidValue("entropy_code", type(link.entropy_code).__name__, allowed, "give it to transmit in --link")
    if link.concealment is not None or link.prior is not None or link.known_error_rate:
        allowed = "are the receiver's, and no part of a stream"
        raise InvalidValue("concealment, prior and known_error_rate", None, allowed, "give them to decode")
    index_map = _index_map_text(connection)
    if link.code is None:
        return index_map, ""
    assert connection.code is not None
    return index_map, Protection(connection.code, connection.protected_positions, link.interleave).text()


def stream_header(
    codec: NeuralCodec, link: Link, packet_frames: int = 0, block_frames: int | None = None, *, crc: bool = False
) -> StreamHeader:
    """Header of a stream that a codec encodes, of a length not known yet.

    Raises:
        InvalidValue: numbers out of range or options that do not go together.
    """
    if not 0 <= packet_frames <= 255:
        raise InvalidValue("packet_frames", packet_frames, "must be 1 to 255, or 0 for none")
    if block_frames is not None and (packet_frames or link.code is None or not 1 <= block_frames < 2**16):
        allowed = "must be 1 to 65535, with a code in the link and without packets"
        raise InvalidValue("block_frames", block_frames, allowed)
    if crc and not packet_frames:
        raise InvalidValue("crc", None, "is put behind packets", "state --packet_frames")
    index_map, protection = header_texts(link, codec.quantizer)
    default = max(BLOCK_FRAMES, link.interleave) if protection else 0
    return StreamHeader(
        fingerprint(codec), codec.sample_rate, codec.output_sample_rate, codec.hop_length,
        tuple(codec.quantizer.codebook_sizes), layout=Layout.PACKETS if packet_frames else Layout.FRAMES,
        block_frames=packet_frames or block_frames or default, index_map=index_map, protection=protection,
        has_crc=crc,
    )  # fmt: skip


def _index_map_text(connection: Connection) -> str:
    """The map's class and arguments, or where these are not plain its tables; empty for natural binary."""
    if type(connection.index_map) is NaturalMap:
        return ""
    try:
        return part_text(connection.index_map)
    except InvalidValue:
        return table_text(connection.codewords, connection.quantizer)


def _index_map(text: str) -> IndexMap | None:
    """The map that a header states; None for natural binary."""
    if not text:
        return None
    block = read_json(text)
    return (
        read_tables(block["tables"]) if isinstance(block, dict) and "tables" in block else build_part(block, IndexMap)
    )


class BlockFormat:
    """Bits of a block's frames as a stream's header states them.

    Attributes:
        header: the stream's.
        frame_bits: n, payload bits of a frame.

    Args:
        header: of the stream.
        error_rate: of hard decisions behind a code; 0 takes them as certain, and where they contradict each other as
            wrong with the code's default rate.

    Raises:
        UnreadableFile: the protection that the header states cannot be built or does not fit its frames.
    """

    def __init__(self, header: StreamHeader, *, error_rate: float = 0.0) -> None:
        self.header, self.frame_bits, self._error_rate = header, header.frame_bits, error_rate
        self.protected: ProtectedChannel | None = None
        self._used: dict[int, Tensor] = {}
        if header.protection:
            protection = Protection.of_text(header.protection)
            channel: Channel = BinarySymmetricChannel(error_rate)
            try:
                self.protected = ProtectedChannel(
                    channel,
                    protection.code,
                    protected_bits=protection.protected_bits,
                    interleave=protection.interleave,
                    frame_bits=self.frame_bits,
                )
                protected = self.frame_bits if protection.protected_bits is None else len(protection.protected_bits)
                if protection.code.coded_length(header.block_frames * protected) > LARGEST_BLOCK:
                    raise InvalidValue(f"more than {LARGEST_BLOCK} bits a block")
                self.payload(self.rows(torch.zeros(1, self.frame_bits, dtype=torch.uint8)))
            except Exception as error:  # of arguments that only its use checks
                allowed = f"states a protection that does not fit its frames ({first_line(error)})"
                raise UnreadableFile("The stream's header", None, allowed, "encode it again") from error

    def sent_bits(self, frames: int) -> int:
        """Bits sent for a block of frames."""
        if self.protected is None:
            return frames * self.frame_bits
        return self.protected.channel_bits(frames, self.frame_bits)

    def sent_bytes(self, frames: int) -> int:
        """Bytes of a block of frames."""
        return -(-self.sent_bits(frames) // 8)

    def fits(self, packet: Packet) -> bool:
        """Whether a packet with frames, or an end, can be of this stream."""
        if packet.is_end:
            return packet.length is not None and self.header.frame_count(packet.length) == packet.first
        if not 0 < packet.frames <= self.header.block_frames or packet.first + packet.frames > LARGEST_FRAME:
            return False
        return len(packet.payload) == self.sent_bytes(packet.frames)

    def rows(self, payload: Tensor) -> Tensor:
        """What is sent for payload uint8 `[F, n]`: uint8 `[F, m]`, zeros in places that are not sent."""
        return payload if self.protected is None else self.protected.encode(payload[None])[0]

    def payload(self, rows: Tensor) -> Tensor:
        """Payload `[F, n]`, uint8 or probabilities, of rows received `[F, m]`, uint8 or probabilities of a one."""
        if self.protected is None:
            return rows
        if rows.is_floating_point() and self._error_rate:  # certain bits beside lost ones
            certain = (rows == 0) | (rows == 1)
            rows = torch.where(certain, decision_probabilities((rows > 0.5).to(torch.uint8), self._error_rate), rows)
        return self.protected.decode(rows[None], self.frame_bits)[0]

    def pack(self, rows: Tensor) -> bytes:
        """Bytes of uint8 rows `[F, m]`: bits in order, high bit first, zeros up to a whole byte."""
        return np.packbits(self.in_use(rows).numpy()).tobytes()

    def unpack(self, data: bytes, frames: int) -> Tensor:
        """Rows uint8 `[F, m]` of `sent_bytes(frames)` bytes."""
        bits = np.unpackbits(np.frombuffer(data, np.uint8), count=self.sent_bits(frames))
        return self._spread(torch.from_numpy(bits), frames)

    def pack_probabilities(self, rows: Tensor) -> bytes:
        """Bytes of probabilities `[F, m]`: a float32, high byte first, for each bit sent."""
        return self.in_use(rows).float().numpy().astype(">f4").tobytes()

    def unpack_probabilities(self, data: bytes, frames: int) -> Tensor:
        """Rows float32 `[F, m]` of 4 bytes for each bit sent; what is no probability counts as lost."""
        values = torch.from_numpy(np.frombuffer(data, ">f4").astype(np.float32))
        values = torch.where((values >= 0) & (values <= 1), values, 0.5)
        return self._spread(values, frames)

    def lost_rows(self, frames: int) -> Tensor:
        """Rows of which nothing arrived: float32 0.5."""
        return self._spread(torch.full((self.sent_bits(frames),), 0.5), frames)

    def in_use(self, rows: Tensor) -> Tensor:
        """The bits of rows that are sent, in order."""
        return rows.flatten() if self.protected is None else rows[self._places(len(rows))]

    def _spread(self, bits: Tensor, frames: int) -> Tensor:
        if self.protected is None:
            return bits.view(frames, self.frame_bits)
        used = self._places(frames)
        return bits.new_zeros(used.shape).masked_scatter(used, bits)

    def _places(self, frames: int) -> Tensor:
        assert self.protected is not None
        if frames not in self._used:
            self._used = {frames: self.protected.used_places(frames, self.frame_bits)}
        return self._used[frames]


def stream_link(header: StreamHeader, receiver: Link) -> Link:
    """A receiver's link with the index map that the stream's header states, without protection, which blocks have.

    Raises:
        InvalidValue: the receiver's link states another index map, or protection.
        UnreadableFile: the index map that the header states cannot be built.
    """
    if receiver.index_map is not None or receiver.code is not None or receiver.entropy_code is not None:
        what = "index_map, code or entropy_code"
        raise InvalidValue("The receiver's link", None, f"must not state {what}", "leave it to the stream's header")
    return Link(
        index_map=_index_map(header.index_map), concealment=receiver.concealment, prior=receiver.prior,
        known_error_rate=receiver.known_error_rate,
    )  # fmt: skip


def connect(header: StreamHeader, quantizer: Quantizer, receiver: Link) -> Connection:
    """The receiver's end of a stream, fitted to a codec's quantizer; raises as `stream_link`."""
    link = stream_link(header, receiver)
    try:
        return link.connect(quantizer)
    except UserError:
        raise
    except Exception as error:  # of an index map's arguments that only its use checks
        allowed = f"states an index map that cannot be used ({first_line(error)})"
        raise UnreadableFile("The stream's header", None, allowed, "encode it again") from error
