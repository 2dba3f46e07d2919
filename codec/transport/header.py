"""The header of a stream of codes: what a receiver must know before it can decode; to the bit in docs/bitstream.md."""

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction

from codec.errors import InvalidValue, UnreadableFile
from codec.quantizers.codes import code_bits

MAGIC = b"\x93NSC\r\n\x1a\n"  # as PNG's: a transfer as text, or one that strips the high bit, damages it visibly
VERSION = 1
UNKNOWN = 2**64 - 1  # length of a stream that is written before it ends
FIXED = struct.Struct(">8sHBBBB16sIIIHQ")
LARGEST = 8192  # bytes of a header
CODEBOOKS, ENTRIES = 64, 2**30  # at most
HIGHEST_RATE, HIGHEST_FRAME_RATE = 1_000_000, 1_000  # Hz
HAS_CRC, HAS_TRAILER = 1, 2  # flags


class Layout(IntEnum):
    """How the frames stand behind the header."""

    FRAMES = 0  # bits without anything between them
    PACKETS = 1  # packets with sequence numbers
    PROBABILITIES = 2  # as FRAMES, a float32 for each bit: what a channel with soft decisions or losses delivered


@dataclass(frozen=True)
class StreamHeader:
    """What a receiver must know of a stream.

    Attributes:
        fingerprint: 16 bytes, of the quantizer and decoder that the codes are for (`codec.transport.fingerprint`).
        sample_rate: of the encoder's input in Hz.
        output_sample_rate: of the decoder's output in Hz.
        hop_length: samples of input per frame.
        codebook_sizes: entries of each of the K codebooks.
        layout: how the frames stand behind the header.
        block_frames: frames of a packet or of a protected block, the last one may have fewer; 0 where bits follow each
            other to the end.
        length: samples of the input; None where it was not known.
        index_map: `class_path` and `init_args` of the index map as JSON; empty for natural binary codewords.
        protection: error correction of each block as JSON, see `codec.transport.blocks`; empty for none.
        has_crc: whether a CRC-32 follows each packet's payload.
    """

    fingerprint: bytes
    sample_rate: int
    output_sample_rate: int
    hop_length: int
    codebook_sizes: tuple[int, ...]
    layout: Layout = Layout.FRAMES
    block_frames: int = 0
    length: int | None = None
    index_map: str = ""
    protection: str = ""
    has_crc: bool = False

    @property
    def frame_bits(self) -> int:
        """Payload bits of a frame."""
        return sum(code_bits(self.codebook_sizes))

    @property
    def frame_rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(self.sample_rate, self.hop_length)

    @property
    def frames(self) -> int | None:
        """Frames of the stream; None where its length is not known."""
        return None if self.length is None else self.frame_count(self.length)

    def frame_count(self, length: int) -> int:
        """Frames of `length` samples of input, the last one filled up."""
        return -(-length // self.hop_length)

    @property
    def has_trailer(self) -> bool:
        """Whether the length follows the frames, as it was not known before (packets have one of their own for it)."""
        return self.length is None and self.layout is not Layout.PACKETS

    def pack(self) -> bytes:
        """The header's bytes.

        Raises:
            InvalidValue: a field does not fit into its place.
        """
        texts = [text.encode() for text in (self.index_map, self.protection)]
        rest = b"".join(struct.pack(">I", size) for size in self.codebook_sizes)
        rest += b"".join(struct.pack(">H", len(text)) + text for text in texts)
        size = FIXED.size + len(rest) + 4
        if size > LARGEST or len(self.codebook_sizes) > CODEBOOKS:
            raise InvalidValue(
                "The stream's header", f"{size} bytes", f"must have at most {LARGEST}", "shorten the link"
            )
        flags = (HAS_CRC if self.has_crc else 0) | (HAS_TRAILER if self.has_trailer else 0)
        length = UNKNOWN if self.length is None else self.length
        try:
            fixed = FIXED.pack(
                MAGIC, size, VERSION, self.layout, flags, len(self.codebook_sizes), self.fingerprint,
                self.sample_rate, self.output_sample_rate, self.hop_length, self.block_frames, length,
            )  # fmt: skip
        except struct.error as error:
            raise InvalidValue("The stream's header", None, f"has a field out of range ({error})") from error
        return fixed + rest + struct.pack(">I", zlib.crc32(fixed + rest))


def header_size(start: bytes) -> int:
    """Bytes of the header whose first ten are `start`.

    Raises:
        UnreadableFile: it does not begin like a stream.
    """
    if len(start) < 10 or start[:8] != MAGIC:
        raise UnreadableFile(
            "This is no stream of codes: it begins with",
            repr(start[:8]),
            "must begin with the magic bytes",
            "give a .nsc file",
        )
    size = int.from_bytes(start[8:10], "big")
    if not FIXED.size + 8 <= size <= LARGEST:
        raise UnreadableFile("The stream's header states", f"{size} bytes", f"must be {FIXED.size + 8} to {LARGEST}")
    return size


def read_header(data: bytes) -> StreamHeader:
    """Read a whole header.

    Raises:
        UnreadableFile: it is cut off or damaged, of a newer version, or its fields contradict each other.
    """
    size = header_size(data)
    if len(data) < size:
        raise UnreadableFile(
            f"The stream's header is cut off after {len(data)} of {size} bytes", remedy="send it again"
        )
    if zlib.crc32(data[: size - 4]) != int.from_bytes(data[size - 4 : size], "big"):
        raise UnreadableFile("The stream's header is damaged: its checksum does not match", remedy="send it again")
    _, _, version, layout, flags, codebooks, *fields = FIXED.unpack(data[: FIXED.size])
    if version != VERSION:
        raise UnreadableFile("The stream's version", version, f"must be {VERSION}", "update this package")
    sizes, index_map, protection = _variable_part(data[FIXED.size : size - 4], codebooks)
    fingerprint, sample_rate, output_rate, hop, block, length = fields
    header = StreamHeader(
        fingerprint, sample_rate, output_rate, hop, sizes,
        layout=Layout(layout) if layout in set(Layout) else Layout.FRAMES,
        block_frames=block, length=None if length == UNKNOWN else length,
        index_map=index_map, protection=protection, has_crc=bool(flags & HAS_CRC),
    )  # fmt: skip
    sound = (
        layout in set(Layout)
        and flags in (HAS_CRC * header.has_crc | HAS_TRAILER * header.has_trailer,)
        and min(sample_rate, output_rate, hop) > 0
        and max(sample_rate, output_rate) <= HIGHEST_RATE
        and sample_rate <= HIGHEST_FRAME_RATE * hop
        and 0 < codebooks <= CODEBOOKS
        and all(2 <= entries <= ENTRIES for entries in sizes)
        and (block > 0 or (layout != Layout.PACKETS and not protection))
        and (layout != Layout.PACKETS or block < 256)
        and (length == UNKNOWN or length < 2**53)
    )
    if not sound:
        raise UnreadableFile("The stream's header has fields that contradict each other", remedy="encode it again")
    return header


def _variable_part(data: bytes, codebooks: int) -> tuple[tuple[int, ...], str, str]:
    """Codebook sizes, index map and protection."""
    try:
        sizes = struct.unpack_from(f">{codebooks}I", data)
        place, texts = 4 * codebooks, []
        for _ in range(2):
            (count,) = struct.unpack_from(">H", data, place)
            if place + 2 + count > len(data):
                raise ValueError("a text is cut off")
            texts.append(data[place + 2 : place + 2 + count].decode())
            place += 2 + count
        if place != len(data):
            raise ValueError("bytes are left over")
    except (struct.error, ValueError) as error:
        raise UnreadableFile("The stream's header cannot be read", None, f"({error})", "encode it again") from error
    return sizes, texts[0], texts[1]
