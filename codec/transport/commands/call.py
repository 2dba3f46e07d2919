"""`python -m codec call`: speech to another process and back, over UDP."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch

from codec.channels.link import Link
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.transport.blocks import stream_header
from codec.transport.commands.codecs import open_codec
from codec.transport.commands.jobs import PIPE, writing
from codec.transport.live.coding import LOOK_AHEAD
from codec.transport.live.conversation import Conversation
from codec.transport.live.devices import (
    LOUDSPEAKER,
    MICROPHONE,
    FileSink,
    FileSource,
    Loudspeaker,
    Microphone,
    Sink,
    Source,
)
from codec.transport.live.endpoint import Endpoint
from codec.transport.live.receiver import Receiver
from codec.transport.live.sender import Sender
from codec.transport.live.statistics import open_log
from codec.transport.live.stream import Address


def call(
    *,
    to: str | None = None,
    listen: str | None = None,
    source: str | None = None,
    output: str | None = None,
    codec: str = "small_fsq",
    link: Link | None = None,
    packet_frames: int = 1,
    crc: bool = False,
    buffer_ms: float | None = None,
    look_ahead: int = LOOK_AHEAD,
    seconds: float | None = None,
    wait: float = 10.0,
    stats: str | None = None,
    device: str = "cpu",
) -> int:
    """Send speech over UDP, receive it, or both at once, live.

    Args:
        to: HOST:PORT to send to; a side that listens may leave it out and answers whoever calls.
        listen: [HOST:]PORT to receive at; by default any free one.
        source: Audio file, sent at the pace of speech, or mic; none to receive only.
        output: File ending in .wav, .flac or .ogg, - for WAV on standard output, or speaker; none to send only.
        codec: A pretrained codec's name, or a run's checkpoint; the same on both sides.
        link: Index map and error correction of what is sent; concealment (codec.RepeatLast by default) and prior of
            what is received.
        packet_frames: Frames of a packet, 1 to 255.
        crc: Put a CRC-32 behind each packet, so that damaged ones count as lost.
        buffer_ms: Delay of the jitter buffer above the fastest packet, 0 to 2000; by default it follows the network.
        look_ahead: Frames that encoder and decoder look ahead at most, 0 to 50, if their codec is not causal.
        seconds: Hang up after this time.
        wait: Seconds of silence after which a receiver stops.
        stats: File for a line of JSON each second and at the end.
        device: Where the codec computes, such as cuda.
    """
    _check(to, listen, source, output, packet_frames, seconds, wait)
    _check_files(source, output, stats)
    torch.set_num_threads(1)  # a frame is too little work to share
    model, link = open_codec(codec, device), link or Link()
    speech = None if source is None else _source(source, model)
    with ExitStack() as stack:
        endpoint = stack.enter_context(Endpoint(listen, to))
        log = None if stats is None else stack.enter_context(open_log(stats))
        sending = hearing = None
        if output is not None:
            buffer = None if buffer_ms is None else buffer_ms / 1000
            receiver = Receiver(model, link, buffer=buffer, look_ahead=look_ahead, only_from=endpoint.target)
            hearing = receiver, stack.enter_context(_sink(output, model))
        if speech is not None:
            sent = replace(link, concealment=None, prior=None, known_error_rate=False)  # those are the receiver's
            header = stream_header(model, sent, packet_frames, crc=crc)
            sending = Sender(model, header, link, endpoint.send, look_ahead=look_ahead), speech
        conversation = Conversation(endpoint, sending=sending, hearing=hearing, wait=wait)
        print(f"Listening at {_shown(endpoint.address)}" if hearing else "Calling", file=sys.stderr, flush=True)
        conversation.run(log=log, seconds=seconds)
    print(conversation.report.summary(), file=sys.stderr if output == PIPE else sys.stdout, flush=True)
    return 0


def _check(
    to: str | None, listen: str | None, source: str | None, output: str | None, packet_frames: int,
    seconds: float | None, wait: float,
) -> None:  # fmt: skip
    """Refuse options that do not go together."""
    if source is None and output is None:
        raise InvalidValue(
            "source and output", None, "are both missing", "give a --source to send, an --output, or both"
        )
    if to is None and (listen is None or output is None):
        remedy = "give --to HOST:PORT, or --listen PORT with an --output"
        raise InvalidValue("to", None, "is missing: nobody is there to talk to", remedy)
    if not 1 <= packet_frames <= 255:
        raise InvalidValue("packet_frames", packet_frames, "must be 1 to 255", "take 1")
    if seconds is not None and not seconds > 0:
        raise InvalidValue("seconds", seconds, "must be above 0", "leave it out to go on to the end")
    if not wait > 0:
        raise InvalidValue("wait", wait, "must be above 0 seconds", "take 10")


def _check_files(*names: str | None) -> None:
    """Refuse one file for two purposes: the later one would replace it."""
    devices = (MICROPHONE, LOUDSPEAKER, PIPE, None)
    files = [os.path.realpath(name) for name in names if name is not None and name not in devices]
    twice = [file for file in files if files.count(file) > 1]
    if twice:
        raise InvalidValue("source, output and stats", twice[0], "must be different files", "give another one")


def _source(name: str, codec: NeuralCodec) -> Source:
    return Microphone(codec.sample_rate) if name == MICROPHONE else FileSource(name, codec.sample_rate)


@contextmanager
def _sink(name: str, codec: NeuralCodec) -> Iterator[Sink]:
    """Where a call is heard; a file takes its place when the call has ended."""
    rate = codec.output_sample_rate
    with nullcontext() if name == LOUDSPEAKER else writing(name) as place:
        suffix = "" if name == PIPE else Path(name).suffix.lower()
        sink: Sink = Loudspeaker(rate) if place is None else FileSink(place, rate, suffix=suffix)
        try:
            yield sink
        finally:
            sink.close()


def _shown(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
