"""`python -m codec encode`: audio to a stream of codes."""

from collections.abc import Iterator

from torch import Tensor

from codec.channels.link import Connection, Link
from codec.codec import NeuralCodec
from codec.transport.blocks import stream_header
from codec.transport.commands.codecs import open_codec
from codec.transport.commands.jobs import Job, list_jobs, progress, run_jobs, writing_bytes
from codec.transport.header import StreamHeader
from codec.transport.sound import SUFFIXES, read_sound
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
    model, link = open_codec(codec, device), link or Link()
    header = stream_header(model, link, packet_frames, block_frames, crc=crc)
    connection = Link(index_map=link.index_map).connect(model.quantizer)
    return run_jobs(jobs, lambda job: _encode_one(job, model, connection, header, raw))


def _encode_one(job: Job, codec: NeuralCodec, connection: Connection, header: StreamHeader, raw: int | None) -> str:
    sound = read_sound(job.source, raw_rate=raw)
    samples = 0
    seconds = None if sound.samples is None else sound.samples / sound.sample_rate
    with writing_bytes(job.target) as file, progress(seconds, what="encoding") as bar:
        writer = StreamWriter(file, header)

        def counted() -> Iterator[Tensor]:
            nonlocal samples
            for piece in sound.resampled(codec.sample_rate):
                samples += piece.shape[-1]
                bar.update(piece.shape[-1] / codec.sample_rate)
                yield piece.to(codec.device)

        for codes in codec.encode_stream(counted()):
            writer.write(connection.send(codes.cpu())[0])
        writer.finish(samples)
    seconds = samples / codec.sample_rate
    rate = 8 * writer.bytes * codec.frame_rate / max(1, writer.frames) / 1000
    told = f"{writer.frames} frames, {seconds:.2f} s at {rate:.3g} kbit/s"
    return f"{job.target}: {told}, header {len(writer.header.pack())} bytes"
