"""Ogg files with the same bytes every time: libsndfile gives each stream a random serial number."""

import zlib

SERIAL = (1).to_bytes(4, "little")
SERIAL_AT, CRC_AT, SEGMENTS_AT, TABLE_AT = 14, 22, 26, 27  # bytes of a page's header (RFC 3533)
REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def with_fixed_serial(data: bytes) -> bytes:
    """The same stream under serial number 1; `data` holds whole pages."""
    pages, start = [], 0
    while start < len(data):
        table = start + TABLE_AT + data[start + SEGMENTS_AT]
        stop = table + sum(data[start + TABLE_AT : table])
        page = bytearray(data[start:stop])
        page[SERIAL_AT : SERIAL_AT + 4], page[CRC_AT : CRC_AT + 4] = SERIAL, bytes(4)
        page[CRC_AT : CRC_AT + 4] = _crc(page).to_bytes(4, "little")
        pages.append(bytes(page))
        start = stop
    return b"".join(pages)


def _crc(page: bytearray) -> int:
    """Ogg's checksum: that of zlib with the order of bits exchanged, from 0, and without the final inversion."""
    mirrored = zlib.crc32(page.translate(REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{mirrored:032b}"[::-1], 2)
