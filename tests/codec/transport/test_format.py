"""The bytes of headers and packets, fixed for good, and their refusals."""

import struct
import zlib
from dataclasses import replace

import pytest

from codec.errors import InvalidValue, UnreadableFile
from codec.transport.header import MAGIC, Layout, StreamHeader, read_header
from codec.transport.packets import HEAD, Packet, PacketScanner, find_packet

HEADER = StreamHeader(bytes(range(16)), 16_000, 24_000, 320, (65_536,), length=57_600_000)
GOLDEN = (
    "934e53430d0a1a0a" "0040" "01" "00" "00" "01" "000102030405060708090a0b0c0d0e0f"
    "00003e80" "00005dc0" "00000140" "0000" "00000000036ee800" "00010000" "0000" "0000"
)  # fmt: skip


def test_the_header_is_64_bytes_as_documented():
    data = HEADER.pack()
    assert data[:-4].hex() == GOLDEN
    assert data[-4:] == struct.pack(">I", zlib.crc32(data[:-4]))
    assert len(data) == 64 and HEADER.frame_bits == 16 and HEADER.frame_rate == 50


def test_a_packet_is_14_bytes_and_its_payload_as_documented():
    packet = Packet(stream=0xABCD, first=258, frames=1, payload=b"\x12\x34")
    assert packet.pack()[:12].hex() == "4e531001abcd000001020002"
    assert packet.pack()[12:14] == struct.pack(">H", crc_16(packet.pack()[:12]))
    assert packet.pack()[14:] == b"\x12\x34" and HEAD == 14
    with_crc = packet.pack(crc=True)
    assert with_crc[2] == 0x11 and with_crc[16:] == struct.pack(">I", zlib.crc32(with_crc[:16]))


def crc_16(data: bytes) -> int:
    """CRC-16 of polynomial 0x1021 from 0xFFFF, bit by bit."""
    register = 0xFFFF
    for byte in data:
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ 0x1021 if register & 0x8000 else register << 1) & 0xFFFF
    return register


@pytest.mark.parametrize(
    "header",
    [
        HEADER,
        replace(HEADER, length=None),
        replace(HEADER, layout=Layout.PACKETS, block_frames=5, has_crc=True, length=None),
        replace(HEADER, codebook_sizes=(1024, 5, 2), layout=Layout.PROBABILITIES, index_map='{"class_path":1}'),
        replace(HEADER, protection="{}", block_frames=65_535),
    ],
    ids=["plain", "pipe", "packets", "probabilities", "protected"],
)  # fmt: skip
def test_headers_come_back(header):
    data = header.pack()
    assert read_header(data) == header and read_header(data + b"more") == header


def test_every_flipped_bit_of_a_header_is_refused():
    data = HEADER.pack()
    for place in range(8 * len(data)):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        with pytest.raises(UnreadableFile):
            read_header(bytes(broken))


@pytest.mark.parametrize("size", range(64))
def test_a_cut_header_is_refused(size):
    with pytest.raises(UnreadableFile, match=r"cut off|no stream"):
        read_header(HEADER.pack()[:size])


def sealed(**changes: object) -> bytes:
    """A header with other bytes at places, and a checksum that fits."""
    data = bytearray(HEADER.pack()[:-4])
    for place, value in changes.items():
        start = int(place.removeprefix("at"))
        data[start : start + len(value)] = value  # type: ignore[arg-type, call-overload]
    return bytes(data) + struct.pack(">I", zlib.crc32(data))


@pytest.mark.parametrize(
    "changes",
    [
        {"at10": b"\x02"}, {"at11": b"\x03"}, {"at11": b"\x01"}, {"at12": b"\x02"}, {"at13": b"\x00"},
        {"at13": b"\x05"}, {"at30": bytes(4)}, {"at38": bytes(4)}, {"at44": b"\x7f"}, {"at52": bytes(4)},
        {"at52": b"\xff"}, {"at56": b"\x00\x09"}, {"at58": b"\xff\xff"},
    ],
    ids=str,
)  # fmt: skip
def test_fields_that_contradict_each_other_are_refused(changes):
    with pytest.raises(UnreadableFile):
        read_header(sealed(**changes))


def test_other_files_are_no_streams():
    for data in (b"", b"RIFF" + bytes(100), MAGIC, MAGIC + b"\x00\x01" + bytes(90), MAGIC + b"\xff\xff" + bytes(90)):
        with pytest.raises(UnreadableFile, match="stream"):
            read_header(data)


def test_a_header_that_does_not_fit_is_refused_when_written():
    with pytest.raises(InvalidValue, match="8192"):
        replace(HEADER, index_map="x" * 9000).pack()
    with pytest.raises(InvalidValue, match="range"):
        replace(HEADER, sample_rate=2**32).pack()
    with pytest.raises(InvalidValue, match="255 frames"):
        Packet(0, 0, 256, b"").pack()


def test_packets_are_found_between_other_bytes():
    packets = [Packet(7, 3 * i, 3, bytes([i] * 6)) for i in range(4)]
    noise = b"NS\x10NSNS\x00"
    data = b"".join(noise + each.pack(crc=i % 2 == 0) for i, each in enumerate(packets)) + noise
    for step in (1, 5, len(data)):
        scanner = PacketScanner()
        found = [p for i in range(0, len(data), step) for p in scanner.push(data[i : i + step])]
        found += list(scanner.push(b"", last=True))
        assert found == packets and scanner.skipped == 5 * len(noise) and scanner.damaged == 0


def test_a_damaged_payload_is_counted_and_a_damaged_head_passed_over():
    good, other = Packet(1, 0, 1, b"ab"), Packet(1, 1, 1, b"cd")
    payload = bytearray(good.pack(crc=True))
    payload[14] ^= 1
    head = bytearray(good.pack(crc=True))
    head[7] ^= 1
    for broken, damaged, skipped in ((payload, 1, 0), (head, 0, len(head))):
        scanner = PacketScanner()
        assert list(scanner.push(bytes(broken) + other.pack(), last=True)) == [other]
        assert (scanner.damaged, scanner.skipped) == (damaged, skipped)


def test_every_flipped_bit_of_a_packet_with_crc_is_noticed():
    data = Packet(1, 5, 2, b"abcd").pack(crc=True)
    for place in range(8 * len(data)):
        broken = bytearray(data)
        broken[place // 8] ^= 1 << place % 8
        assert find_packet(broken).packet is None
