"""`python -m codec transmit`: a stream of codes through a channel."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.channels.base import Channel, decide, draw_generator, mark_lost
from codec.channels.bit_errors import BinarySymmetricChannel
from codec.channels.link import Connection, Link
from codec.errors import InvalidValue
from codec.transport.blocks import header_texts, stream_link
from codec.transport.commands.codecs import codec_of
from codec.transport.commands.encode import SUFFIX
from codec.transport.commands.jobs import Job, list_jobs, progress, reading, run_jobs, writing_bytes
from codec.transport.commands.settings import read_setting
from codec.transport.header import Layout, StreamHeader
from codec.transport.impairments import ImpairedWriter, Impairments
from codec.transport.reading import StreamReader
from codec.transport.writing import StreamWriter

PLAIN_FRAMES, LINK_FRAMES = 160_000, 1_600  # sent at once; draws of a burst begin anew with each


@dataclass(frozen=True)
class Transmission:
    """What `transmit` does to each stream."""

    channel: Channel | None
    link: Link | None
    codec: str | None
    packet_loss: float
    reorder: int
    seed: int

    @property
    def has_sender(self) -> bool:
        """Whether the link does something before the channel."""
        link = self.link or Link()
        return link.known_error_rate or (link.index_map, link.code, link.entropy_code) != (None, None, None)


def transmit(
    source: str,
    target: str,
    *,
    channel: Channel | None = None,
    ber: float | None = None,
    link: Link | None = None,
    codec: str | None = None,
    evaluation: str | None = None,
    setting: str | None = None,
    system: str | None = None,
    packet_loss: float = 0.0,
    reorder: int = 0,
    seed: int = 0,
) -> int:
    """Send a stream of codes (.nsc) through a channel; the output is what a receiver gets, for decode.

    Args:
        source: Stream, folder of streams, or - for standard input.
        target: File or folder to write, or - for standard output.
        channel: Any channel, such as codec.GilbertElliottChannel.
        ber: Share of bits flipped, for codec.BinarySymmetricChannel.
        link: Index map, error correction or entropy code around the channel, for a stream that has none of its own.
        codec: The stream's codec, for a link; by default the pretrained one that the stream names.
        evaluation: Configuration for evaluation that has the channel, such as configs/evaluate/channel_suite.yaml.
        setting: Name of its channel, such as bsc-0.05.
        system: Of a comparison, the system whose link it is.
        packet_loss: Share of packets lost; of streams in packets.
        reorder: Packets that may overtake another; of streams in packets.
        seed: Of all draws.
    """
    if sum(each is not None for each in (channel, ber, evaluation)) > 1:
        raise InvalidValue("channel, ber and evaluation", None, "go one at a time", "give one of them")
    if (evaluation is None) != (setting is None):
        raise InvalidValue("setting", setting, "goes with --evaluation", "give both")
    if system is not None and evaluation is None:
        raise InvalidValue("system", system, "is of a configuration", "give --evaluation and --setting")
    if link is not None and (link.concealment is not None or link.prior is not None):
        allowed = "are the receiver's"
        raise InvalidValue("link.concealment and link.prior", None, allowed, "give them to decode")
    if ber is not None:
        channel = BinarySymmetricChannel(ber)
    if evaluation is not None and setting is not None:
        channel, stated = read_setting(evaluation, setting, system)
        link = link or stated
    if channel is None and not packet_loss and not reorder:
        raise InvalidValue("channel", None, "is not given", "give --ber, --channel, --packet_loss or --reorder")
    Impairments(loss=packet_loss, reorder=reorder, seed=seed)
    plan = Transmission(channel, link, codec, packet_loss, reorder, seed)
    if plan.has_sender and channel is None:
        raise InvalidValue("link", None, "stands around a channel", "add one, such as --ber 0")
    if codec is not None and not plan.has_sender:
        raise InvalidValue("codec", codec, "is for a link around the channel", "leave it out, or state --link")
    return run_jobs(list_jobs(source, target, (SUFFIX,), SUFFIX), lambda job: _transmit_one(job, plan))


def _transmit_one(job: Job, plan: Transmission) -> str:
    with reading(job.source) as file, tempfile.TemporaryFile() as spool:
        reader = StreamReader(file)
        header, relay = reader.header, None
        if plan.has_sender:
            header, relay = _linked(header, plan)
        received = _through(reader, plan, relay, job.clip_id)
        kinds = _spool(received, spool, reader=reader)
        spool.seek(0)
        length = reader.length if reader.length is not None else reader.frames * header.hop_length
        header = _behind(replace(header, length=length), kinds)
        if (plan.packet_loss or plan.reorder) and header.layout is not Layout.PACKETS:
            allowed = "are of streams in packets; this one has none, or bits of its packets were lost"
            raise InvalidValue("packet_loss and reorder", None, allowed, "encode it with --packet_frames 1")
        with writing_bytes(job.target) as out:
            lost = _write(spool, out, header, plan, job.clip_id, crc=reader.header.has_crc)
    told = f"{reader.frames} frames sent"
    if plan.channel is not None:
        told += f" through {plan.channel.name}, {kinds.told()}"
    return f"{job.target}: {told}" + (f", {lost} packets lost" if lost else "")


class Relay(NamedTuple):
    """Takes the codes out of a stream's codewords, and sends them over a link."""

    stream: Connection
    link: Connection

    def send(self, sent: Tensor, channel: Channel, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Codewords `[F, n]` as the link's index map has them, and what comes out behind its error correction."""
        bits = self.link.send(self.stream.receive(sent[None]).codes)
        return bits[0], self.link.protect(channel)(bits, generator)[0]


def _linked(header: StreamHeader, plan: Transmission) -> tuple[StreamHeader, Relay]:
    """Header behind a link, whose index map the stream then has, and what sends the stream over it."""
    if header.protection:
        allowed = "must not be sent through another link: the stream has error correction of its own"
        raise InvalidValue("link", None, allowed, "encode it without, or leave the link out")
    assert plan.link is not None
    quantizer = codec_of(header, plan.codec).quantizer
    link, own = plan.link, stream_link(header, Link())
    if link.index_map is None:
        link = replace(link, index_map=own.index_map)
    elif header.index_map:
        raise InvalidValue("link.index_map", None, "must not be stated: the stream has one of its own")
    index_map, _ = header_texts(Link(index_map=link.index_map), quantizer)
    return replace(header, index_map=index_map), Relay(own.connect(quantizer), link.connect(quantizer))


def _through(
    reader: StreamReader, plan: Transmission, relay: Relay | None, clip_id: str
) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows as sent, hard decisions, and as received, block by block."""
    size = LINK_FRAMES if relay else PLAIN_FRAMES
    for number, rows in enumerate(_gathered(reader, size)):
        joined = torch.cat(rows)  # float32 where a block was lost
        sent, lost = decide(joined)
        if relay is not None:  # a frame of which a bit was lost before is lost
            lost = lost.any(1, keepdim=True).expand_as(lost)
        if joined.is_floating_point() and not bool(((joined == sent) | lost).all()):
            allowed = "holds soft decisions, which no further channel takes"
            raise InvalidValue("The stream", None, allowed, "transmit what encode wrote")
        if plan.channel is None:
            received = joined if bool(lost.any()) else sent
        else:
            generator = draw_generator(plan.seed, clip_id, plan.channel.family, number)
            if relay is not None:
                sent, received = relay.send(sent, plan.channel, generator)
            else:
                received = plan.channel(sent, generator)
            received = mark_lost(received, lost) if bool(lost.any()) else received
        sizes = [len(row) for row in rows]
        yield from zip(sent.split(sizes), received.split(sizes), strict=True)


def _gathered(reader: StreamReader, frames: int) -> Iterator[list[Tensor]]:
    """Blocks of a stream in lists of about `frames` frames, all of one width."""
    held: list[Tensor] = []
    for rows in reader:
        if held and (sum(map(len, held)) + len(rows) > frames or rows.shape[1] != held[0].shape[1]):
            yield held
            held = []
        held.append(rows)
    if held:
        yield held


@dataclass
class Kinds:
    """What came out of the channel.

    Attributes:
        sent: bits.
        flipped: bits decided wrong.
        lost: bits of which nothing is known.
        soft: whether a bit has a probability besides 0, 0.5 and 1.
        torn: whether a block was lost in part.
    """

    sent: int = 0
    flipped: int = 0
    lost: int = 0
    soft: bool = False
    torn: bool = False

    def told(self) -> str:
        arrived = self.sent - self.lost
        share = f"{self.flipped} of {arrived} bits wrong ({self.flipped / max(1, arrived):.2%})"
        return share + (f", {self.lost} lost ({self.lost / self.sent:.2%})" if self.lost else "")


def _spool(received: Iterator[tuple[Tensor, Tensor]], spool: BinaryIO, *, reader: StreamReader) -> Kinds:
    """Write rows to a temporary file, as whether they are all hard is known at the end.

    Each block is followed by what was sent where its checksum is that of the sender.
    """
    kinds, header, in_use = Kinds(), reader.header, reader.format.in_use
    seconds = None if reader.length is None else reader.length / header.sample_rate
    with progress(seconds, what="sending") as bar:
        for sent, rows in received:
            decided, lost = decide(rows)
            kinds.sent += in_use(sent).numel()
            kinds.flipped += int(in_use((decided != sent) & ~lost).sum())
            gone = in_use(lost)
            kinds.lost += int(gone.sum())
            kinds.torn |= bool(gone.any()) and not bool(gone.all())
            hard = bool((lost | (rows == decided)).all())
            kinds.soft |= not hard
            np.save(spool, (rows if bool(lost.any()) or not hard else decided).numpy())
            if header.has_crc:
                np.save(spool, sent.numpy())
            bar.update(len(rows) / float(header.frame_rate))
    np.save(spool, np.zeros(0, np.uint8))
    return kinds


def _behind(header: StreamHeader, kinds: Kinds) -> StreamHeader:
    """The header behind the channel: packets where none is torn, bits where all are hard, else probabilities."""
    if header.layout is Layout.PACKETS and not kinds.soft and not kinds.torn:
        return header
    hard = not kinds.soft and not kinds.lost
    return replace(header, layout=Layout.FRAMES if hard else Layout.PROBABILITIES, has_crc=False)


def _write(spool: BinaryIO, out: BinaryIO, header: StreamHeader, plan: Transmission, clip_id: str, *, crc: bool) -> int:
    """Write the stream out of the temporary file; the packets lost."""
    impairments = Impairments(loss=plan.packet_loss, reorder=plan.reorder, seed=plan.seed, clip_id=clip_id)
    packets = header.layout is Layout.PACKETS
    writer = ImpairedWriter(out, header, impairments) if packets else StreamWriter(out, header)
    first = lost = 0
    while len(rows := torch.from_numpy(np.load(spool))):
        sent = torch.from_numpy(np.load(spool)) if crc else None
        if packets and rows.is_floating_point():
            lost += 1
        else:
            writer.write_rows(rows, first=first, sent=sent)
        first += len(rows)
    assert header.length is not None
    writer.frames = first
    writer.finish(header.length)
    return lost + impairments.lost
