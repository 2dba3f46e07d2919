"""`python -m codec encode`: audio to a stream of codes."""

from collections.abc import Iterator

from torch import Tensor

from codec.channels.link import Link
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.training.clip_pieces import ResampledPieces
from codec.transport.blocks import BLOCK_FRAMES, header_texts
from codec.transport.commands.codecs import open_codec
from codec.transport.commands.jobs import Job, list_jobs, progress, run_jobs, writing_bytes
from codec.transport.fingerprint import fingerprint
from codec.transport.header import Layout, StreamHeader
from codec.transport.sound import SUFFIXES, Sound, read_sound
from codec.transport.writing import StreamWriter

SUFFIX = ".nsc"


def encode(
    source: str,
    target: str,
    *,
    codec: str = "small_fsq",
    link: Link | None = None,
    packet_frames: int = 0,
    block_frames: int | None = None,
    crc: bool = False,
    raw: int | None = None,
    device: str = "cpu",
) -> int:
    """Encode audio into a stream of codes (.nsc), at any sample rate and of any length.

    Args:
        source: Audio file, folder, or - for standard input.
        target: File or folder to write, or - for standard output.
        codec: A pretrained codec's name, or a run's checkpoint.
        link: Index map and error correction of the stream; concealment is decode's.
        packet_frames: Frames of a packet with a sequence number, 1 to 255; 0 for frames without packets.
        block_frames: Frames that error correction without packets protects together; 50 by default.
        crc: Put a CRC-32 behind each packet, so that damaged ones count as lost.
        raw: Sample rate of input without a header, 16-bit little-endian samples of one channel.
        device: Where the codec computes, such as cuda.
    """
    jobs = list_jobs(source, target, SUFFIXES, SUFFIX)
    model = open_codec(codec, device)
    header = stream_header(model, link or Link(), packet_frames, block_frames, crc=crc)
    return run_jobs(jobs, lambda job: _encode_one(job, model, link or Link(), header, raw))


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


def _encode_one(job: Job, codec: NeuralCodec, link: Link, header: StreamHeader, raw: int | None) -> str:
    sound = read_sound(job.source, raw_rate=raw)
    connection = Link(index_map=link.index_map).connect(codec.quantizer)
    pieces = _Resampled(sound, codec.sample_rate)
    seconds = None if sound.samples is None else sound.samples / sound.sample_rate
    with writing_bytes(job.target) as file, progress(seconds, what="encoding") as bar:
        writer = StreamWriter(file, header)
        pieces.tell = bar.update
        for codes in codec.encode_stream(piece.to(codec.device) for piece in pieces):
            writer.write(connection.send(codes.cpu())[0])
        writer.finish(pieces.samples)
    seconds = pieces.samples / codec.sample_rate
    rate = 8 * writer.bytes * codec.frame_rate / max(1, writer.frames) / 1000
    told = f"{writer.frames} frames, {seconds:.2f} s at {rate:.3g} kbit/s"
    return f"{job.target}: {told}, header {len(writer.header.pack())} bytes"


class _Resampled:
    """Pieces of a sound at another rate; counts them."""

    def __init__(self, sound: Sound, sample_rate: int) -> None:
        self.sound, self.samples = sound, 0
        self._resampled = ResampledPieces(sound.sample_rate, sample_rate)
        self.tell = lambda seconds: None

    def __iter__(self) -> Iterator[Tensor]:
        for piece in self.sound.pieces:
            yield from self._counted(self._resampled.push(piece))
            self.tell(piece.shape[-1] / self.sound.sample_rate)
        yield from self._counted(self._resampled.finish())

    def _counted(self, parts: Iterator[Tensor]) -> Iterator[Tensor]:
        for part in parts:
            self.samples += part.shape[-1]
            yield part
