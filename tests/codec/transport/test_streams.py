"""Streams as written come back, also in pieces, from pipes, cut off, lossy and out of order."""

import random
from dataclasses import replace

import pytest
import torch

from codec import (
    BinarySwitchingMap,
    BinarySymmetricChannel,
    ConvolutionalCode,
    GrayMap,
    Hamming74,
    InvalidValue,
    Link,
    PermutedMap,
    Repetition,
    UnequalProtection,
)
from codec.channels.coding.protection import ProtectedChannel
from codec.errors import UnreadableFile
from codec.transport.blocks import BlockFormat, connect, stream_header
from codec.transport.header import Layout, read_header
from codec.transport.packets import Packet
from codec.transport.reordering import Reordering
from tests.support.small_codec import small_codec
from tests.support.streams import packets_of, payload_of, read, written

LINKS = {
    "plain": Link(),
    "gray": Link(index_map=GrayMap()),
    "convolutional": Link(code=ConvolutionalCode(), interleave=4),
    "some bits": Link(code=Hamming74(), protected_bits=[0, 3]),
    "unequal": Link(code=UnequalProtection([Repetition(3), None], [0, 1, 0, 1, 1, 1, 1, 1])),
}


@pytest.fixture(scope="module")
def codec():
    return small_codec()  # 8 bits a frame


@pytest.mark.parametrize("pipe", [False, True], ids=["file", "pipe"])
@pytest.mark.parametrize("packet_frames", [0, 1, 5])
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("frames", [0, 1, 49, 50, 51, 137])
def test_frames_come_back(codec, frames, link, packet_frames, pipe):
    payload = payload_of(frames, 8)
    data = written(codec, payload, link=LINKS[link], pipe=pipe, packet_frames=packet_frames)
    reader, found = read(data, most=13)
    assert torch.equal(found, payload)
    assert (reader.frames, reader.missing, reader.length) == (frames, 0, frames * 160)
    assert (reader.header.length is None) == pipe


@pytest.mark.parametrize("levels", [(3,), (2,), (5, 5), (4,) * 5], ids=str)  # 2, 1, 5 and 10 bits
@pytest.mark.parametrize("frames", [1, 3, 8, 1600, 1601, 3207])
def test_frames_of_no_whole_bytes_waste_nothing(levels, frames):
    codec = small_codec(levels)
    bits = codec.bits_per_frame
    payload = payload_of(frames, bits)
    for pipe in (False, True):
        data = written(codec, payload, pipe=pipe, piece=101)
        assert len(data) == 64 + -(-frames * bits // 8) + 12 * pipe
        assert torch.equal(read(data)[1], payload)


def test_protected_blocks_send_what_the_channel_counts(codec):
    link = LINKS["convolutional"]
    data = written(codec, payload_of(120, 8), link=link)
    header = read_header(data)
    channel = ProtectedChannel(BinarySymmetricChannel(0.0), link.code, interleave=4, frame_bits=8)
    expected = sum(-(-channel.channel_bits(frames, 8) // 8) for frames in (50, 50, 20))
    assert len(data) - len(header.pack()) == expected


@pytest.mark.parametrize("link", ["convolutional", "some bits"])
def test_error_correction_mends_flipped_bits(codec, link):
    payload = payload_of(50, 8)
    data = bytearray(written(codec, payload, link=LINKS[link]))
    size = len(read_header(bytes(data)).pack())
    data[size + 20] ^= 0x10
    data[size + 40] ^= 0x01
    found = read(bytes(data))[1]
    protected = [0, 3] if link == "some bits" else list(range(8))
    assert torch.equal((found > 0.5)[:, protected], payload[:, protected] > 0)


def test_probabilities_come_back_exactly_and_others_count_as_lost(codec):
    header = stream_header(codec, LINKS["convolutional"])
    form = BlockFormat(header)
    rows = torch.rand(form.rows(payload_of(50, 8)).shape, generator=torch.Generator().manual_seed(0))
    rows = rows * form.protected.used_places(50, 8)
    again = form.unpack_probabilities(form.pack_probabilities(rows), 50)
    assert torch.equal(again, rows)
    plain = BlockFormat(stream_header(codec, Link()))
    odd = torch.tensor([[float("nan"), 2.0, -1.0, 0.25, float("inf"), 1.0, 0.0, 0.5]])
    assert plain.unpack_probabilities(plain.pack_probabilities(odd), 1).tolist() == [
        [0.5, 0.5, 0.5, 0.25, 0.5, 1, 0, 0.5]
    ]


@pytest.mark.parametrize("layout", [Layout.FRAMES, Layout.PROBABILITIES])
@pytest.mark.parametrize("pipe", [False, True], ids=["file", "pipe"])
def test_a_cut_stream_gives_its_whole_frames(codec, pipe, layout):
    payload = payload_of(40, 8)
    data = written(codec, payload, pipe=pipe, layout=layout)
    frame = 1 if layout is Layout.FRAMES else 32
    for cut in (1, 12, 13, 30, len(data) - 64):
        reader, found = read(data[:-cut])
        count = (len(data) - 64 - cut) // frame
        assert len(found) >= min(40, count) and torch.equal(found[: min(count, 40)], payload[:count].to(found))
        assert pipe or reader.missing == 40 - len(found)


@pytest.mark.parametrize("packet_frames", [1, 3])
def test_packets_out_of_order_lost_and_twice(codec, packet_frames):
    payload = payload_of(90, 8)
    data = written(codec, payload, packet_frames=packet_frames)
    header = read_header(data)
    *packets, end = packets_of(data, header)
    lost = {4, 5, 17}
    kept = [
        (place + random.Random(place).randint(0, 3), packet)
        for place, packet in enumerate(packets)
        if place not in lost
    ]
    kept += [(20, packets[10]), (40, packets[10])]
    shuffled = [packet for _, packet in sorted(kept, key=lambda pair: pair[0])]
    reader, found = read(header.pack() + b"".join([*shuffled, end]))
    gone = torch.zeros(90, dtype=torch.bool)
    for place in lost:
        gone[place * packet_frames : (place + 1) * packet_frames] = True
    assert torch.equal(found[~gone], payload[~gone].float()) and bool((found[gone] == 0.5).all())
    assert reader.arrivals.lost_frames == int(gone.sum()) == 3 * packet_frames
    assert (reader.arrivals.packets, reader.arrivals.late, reader.missing) == (len(packets) - 3, 2, 0)


def test_a_packet_overtaken_by_more_than_the_window_is_late(codec):
    data = written(codec, payload_of(30, 8), packet_frames=1)
    header = read_header(data)
    first, *others = packets_of(data, header)
    for window, late in ((16, 0), (15, 1)):
        moved = [*others[:16], first, *others[16:]]
        reader, found = read(header.pack() + b"".join(moved), window=window)
        assert reader.arrivals.late == late and len(found) == 30
        assert bool((found[0] == 0.5).all()) == bool(late)


def test_lost_packets_at_the_end_are_made_up_for_by_the_length(codec):
    data = written(codec, payload_of(30, 8), packet_frames=1)
    header = read_header(data)
    packets = packets_of(data, header)
    reader, found = read(header.pack() + b"".join(packets[:20]))  # its end is lost too
    assert len(found) == 30 and reader.arrivals.lost_frames == 10 and reader.missing == 0


def test_packets_of_another_stream_or_of_wrong_sizes_are_foreign(codec):
    payload = payload_of(30, 8)
    data, other = (written(codec, payload, packet_frames=2, known=known) for known in (False, True))
    header, odd = read_header(data), read_header(written(small_codec((4,) * 3), payload_of(30, 6), packet_frames=2))
    packets = packets_of(data, header)
    strangers = packets_of(written(small_codec((4,) * 3), payload_of(30, 6), packet_frames=2), odd)
    reader, found = read(header.pack() + b"".join([*packets[:5], *strangers, *packets[5:]]))
    assert torch.equal(found, payload) and reader.arrivals.foreign == len(strangers)
    assert torch.equal(read(other)[1], payload)  # the length known before is the same stream


class OwnMap(PermutedMap):
    """A map that no other package has."""


def test_maps_that_no_class_states_are_tables(codec):
    for index_map in (OwnMap(3, width=2), BinarySwitchingMap(), PermutedMap(5)):
        header = stream_header(codec, Link(index_map=index_map))
        assert ("tables" in header.index_map) == (type(index_map) is OwnMap)
        payload = payload_of(30, 8)
        codes = connect(header, codec.quantizer, Link()).receive(payload[None]).codes
        assert torch.equal(codes, Link(index_map=index_map).connect(codec.quantizer).receive(payload[None]).codes)
    with pytest.raises(InvalidValue, match="index map"):
        stream_header(codec, Link(index_map=OwnMap(3)))  # mixes digits


@pytest.mark.parametrize(
    "tables",
    ["7", "[7]", "[[[0,1,2,9]]]", "[[[0,1,2,2],[0,1,2,3],[0,1,2,3],[0,1,2,3]]]", "[[[0,1],[0,1]]]", "[]",
     "[[[0,1,2,true],[0,1,2,3],[0,1,2,3],[0,1,2,3]]]", "[[[]]]"],
)  # fmt: skip
def test_tables_of_another_form_are_refused(codec, tables):
    header = replace(stream_header(codec, Link()), index_map=f'{{"tables":{tables}}}')
    with pytest.raises((UnreadableFile, InvalidValue), match="index map"):
        connect(header, codec.quantizer, Link())


@pytest.mark.parametrize(
    "text",
    [
        '{"code":{"class_path":"codec.OptimizedProtection","init_args":{"codes":[null],"sensitivities":"/etc/passwd"}}}',
        '{"code":{"class_path":"os.system","init_args":{"command":"true"}}}',
        '{"code":{"class_path":"codec.LearnedConcealment","init_args":{"file":"x"}}}',
        '{"code":{"class_path":"codec.Repetition","init_args":{"times":1000000000}}}',
        '{"code":{"class_path":"codec.Repetition","init_args":{"times":60000}}}',
        '{"code":{"class_path":"codec.Repetition"},"protected_bits":[9]}',
        '{"code":{"class_path":"codec.Repetition"},"protected_bits":[true,"x"]}',
        '{"code":{"class_path":"codec.Repetition"},"interleave":0}',
        '{"code":7}', "[]", "{", '{"code":' * 5000,
    ],
)  # fmt: skip
def test_protections_that_no_stream_states_are_refused(codec, text):
    header = replace(stream_header(codec, Link()), protection=text[:7000], block_frames=50, length=160)
    with pytest.raises(UnreadableFile):
        read(header.pack() + bytes(1000))


def test_a_packet_too_far_ahead_is_foreign():
    order = Reordering(window=2, longest_gap=10)
    spans = [span for first in (0, 10, 9, 30) for span in order.push(Packet(0, first, 1, b""))]
    spans += order.finish()
    assert [span.frames for span in spans] == [1, 8, 1, 1] and order.arrivals.foreign == 1
    assert (order.arrivals.packets, order.arrivals.lost_frames) == (3, 8)
