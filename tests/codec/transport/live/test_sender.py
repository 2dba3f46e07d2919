"""The sender: header, packets and end at the pace of speech."""

import threading
import time

import pytest
import torch

from codec import ConvolutionalCode, InvalidValue, Link, Repetition
from codec.transport.blocks import stream_header
from codec.transport.header import read_header
from codec.transport.live import sender as sender_module
from codec.transport.live.sender import Sender
from codec.transport.packets import Packet, find_packet
from tests.support.calls import Spoken
from tests.support.codec_fakes import tiny_codec


def sent(frames: int, size: int = 1, *, link: Link | None = None, taken: bool = True, at_once=True, look_ahead=20):
    codec, data = tiny_codec(), []
    audio = 0.1 * torch.randn(1, 1, frames * 320 - 7, generator=torch.Generator().manual_seed(0))
    header = stream_header(codec, link or Link(), size, crc=True)

    def send(datagram: bytes) -> bool:
        data.append(datagram)
        return taken

    sender = Sender(codec, header, link or Link(), send, look_ahead=look_ahead)
    sender.run(Spoken(audio, 16_000, at_once=at_once), threading.Event())
    packets = [find_packet(each) for each in data]
    assert all(found.size == len(each) for found, each in zip(packets, data, strict=True))
    return sender, [found.packet for found in packets], codec.encode(audio)


def frames_of(packets: list[Packet]) -> list[Packet]:
    return [packet for packet in packets if not packet.is_header and not packet.is_end]


def test_a_stream_is_header_packets_and_end():
    sender, packets, codes = sent(25, size=3)
    assert [packet.is_header for packet in packets[:7]] == [True, False] * 3 + [False]
    assert read_header(packets[0].payload) == sender.header
    assert [packet.is_end for packet in packets[-4:]] == [False, True, True, True]
    assert packets[-1].first == 25 and int.from_bytes(packets[-1].payload, "big") == 25 * 320 - 7
    assert len({packet.stream for packet in packets}) == 1
    found = frames_of(packets)
    assert [packet.first for packet in found] == list(range(0, 25, 3)) and found[-1].frames == 1
    rows = torch.cat([sender.format.unpack(packet.payload, packet.frames) for packet in found])
    assert torch.equal(rows, Link().connect(sender.codec.quantizer).send(codes)[0])
    counts = sender.statistics
    assert (counts.packets, counts.frames, counts.datagrams, counts.failed) == (9, 25, len(packets), 0)


def test_the_header_is_repeated_at_intervals(monkeypatch):
    monkeypatch.setattr(sender_module, "HEADER_EVERY", 0.25)
    began = time.monotonic()
    _, packets, _ = sent(60, at_once=False, look_ahead=0)
    headers = [n for n, packet in enumerate(packets) if packet.is_header]
    assert headers[:3] == [0, 2, 4]  # with the first three packets
    assert 1 <= len(headers[3:]) <= (time.monotonic() - began) / 0.25


def test_two_calls_have_two_numbers():
    assert len({sent(1)[0].stream for _ in range(4)}) > 1


def test_each_packet_is_protected_by_itself():
    link = Link(code=ConvolutionalCode())
    sender, packets, codes = sent(10, size=4, link=link)
    for packet in frames_of(packets):
        found = sender.format.payload(sender.format.unpack(packet.payload, packet.frames))
        own = codes[..., packet.first : packet.first + packet.frames]
        assert torch.equal(found, Link().connect(sender.codec.quantizer).send(own)[0])


def test_what_the_system_does_not_take_is_counted():
    sender, packets, _ = sent(5, taken=False)
    assert sender.statistics.failed == len(packets) and sender.statistics.datagrams == 0


def test_packets_that_would_be_divided_are_refused():
    with pytest.raises(InvalidValue, match="packet_frames 255"):
        sent(1, size=255, link=Link(code=Repetition(7)))
