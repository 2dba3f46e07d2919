"""Any bytes for a stream of codes: frames of bits, at most those that the bytes and gaps explain, or an error."""

import io
import struct
import zlib

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from codec import ConvolutionalCode, Hamming74, Link, PermutedMap, RepeatLast
from codec.errors import UserError
from codec.transport.blocks import connect
from codec.transport.header import FIXED, read_header
from codec.transport.packets import HEAD, Packet
from codec.transport.reading import LONGEST_GAP_SECONDS, StreamReader
from codec.transport.receiving import StreamDecoder
from tests.fuzz.limits import bounded_memory, fuzzed, unhurried
from tests.support.small_codec import small_codec
from tests.support.streams import packets_of, payload_of, written

CODEC = small_codec()
LINKS = [
    Link(),
    Link(index_map=PermutedMap(1)),
    Link(code=ConvolutionalCode()),
    Link(code=Hamming74(), protected_bits=[2]),
]
STREAMS = [
    written(
        CODEC,
        payload_of(frames, 8),
        link=link,
        pipe=pipe,
        packet_frames=packet,
        **({"crc": True} if packet == 3 else {}),
    )
    for frames in (0, 60)
    for link in LINKS
    for pipe in (False, True)
    for packet in (0, 1, 3)
]


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """A stream with bytes changed, cut, doubled or put in; half of the damaged headers get a checksum that fits."""
    data = bytearray(draw(st.sampled_from(STREAMS)))
    kind = draw(st.integers(0, 4))
    if kind == 4:
        return draw(st.binary(max_size=300))
    if kind == 3 and data[11] == 1:  # packets of any fields
        header = read_header(bytes(data))
        packets = packets_of(bytes(data), header)
        numbers = st.integers(0, 2**32 - 1)
        for _ in range(draw(st.integers(1, 5))):
            payload = draw(st.binary(max_size=12))
            stream = draw(st.sampled_from([int.from_bytes(packets[0][4:6], "big")] * 3 + [7]))
            fields = Packet(
                stream, draw(numbers), draw(st.integers(0, 255)), payload, draw(st.booleans()), draw(st.booleans())
            )
            packets.insert(draw(st.integers(0, len(packets))), fields.pack(crc=draw(st.booleans())))
        return header.pack() + b"".join(packets)
    for _ in range(draw(st.integers(1, 6))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        change = draw(st.integers(0, 3))
        if change == 0 and data:
            data[place] ^= 1 << draw(st.integers(0, 7))
        elif change == 1:
            del data[place : place + draw(st.integers(1, 40))]
        elif change == 2:
            data[place:place] = draw(st.binary(max_size=20))
        else:
            data[place : place + 4] = draw(st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\x7f\xff\xff\xff"]))
    size = int.from_bytes(data[8:10], "big")
    if draw(st.booleans()) and FIXED.size + 8 <= size <= len(data):
        data[size - 4 : size] = struct.pack(">I", zlib.crc32(data[: size - 4]))
    return bytes(data)


@unhurried
@fuzzed
@given(streams())
def test_what_is_read_becomes_audio(data):
    """Without a gap: a decoder's hop for each frame, all of it finite."""
    try:
        reader = StreamReader(io.BytesIO(data))
        if reader.header.codebook_sizes != tuple(CODEC.quantizer.codebook_sizes):
            return
        decoder = StreamDecoder(CODEC, connect(reader.header, CODEC.quantizer, Link(concealment=RepeatLast())))
        parts = []
        for payload in reader.payload():
            parts += decoder.push(payload)
            if reader.frames > 500:
                return
        parts += decoder.finish()
    except UserError as refusal:
        assert len(str(refusal)) > 20
        return
    audio = torch.cat([torch.zeros(0), *parts])
    assert len(audio) == 160 * reader.frames and bool(audio.isfinite().all())


@unhurried
@fuzzed
@given(streams())
def test_streams_are_read_or_refused(data):
    frames = 0
    try:
        with bounded_memory():
            reader = StreamReader(io.BytesIO(data))
            most = len(data) * 8 + LONGEST_GAP_SECONDS * reader.header.frame_rate * (2 + len(data) // HEAD)
            for payload in reader.payload():
                assert payload.shape[1] == reader.header.frame_bits
                assert payload.dtype in (torch.uint8, torch.float32) and bool(((payload >= 0) & (payload <= 1)).all())
                frames += len(payload)
                if frames > 100_000:  # of a long gap; the rest is like it
                    return
    except UserError as refusal:
        assert len(str(refusal)) > 20
        return
    assert frames == reader.frames <= most


def test_the_streams_themselves_are_read():
    for data in STREAMS:
        reader = StreamReader(io.BytesIO(data))
        assert sum(map(len, reader.payload())) in (0, 60) and not reader.missing


@pytest.mark.parametrize("count", [0, 1])
def test_what_is_no_stream_is_refused(count):
    with pytest.raises(UserError):
        StreamReader(io.BytesIO(b"\x93NSC" * count))
