"""The frames of MP3 files, counted where no header states their number, or the wrong one (ISO 11172-3 and 13818-3)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from data.audio.binary import Binary, Piece, Span, bytes_at, file_size

# kbit/s of layer III and Hz, by the version bits (3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5)
LOW_BITRATES = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
BITRATES = {3: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320), 2: LOW_BITRATES, 0: LOW_BITRATES}
RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
BLOCK = 1 << 18  # bytes looked through at once
LONGEST_FRAME = 1441
INFORMATION_BYTES = 192
TOLERATED_BYTES = 4096  # between what a header states and the file's size: tags


class Frame(NamedTuple):
    """An MPEG frame: number of bytes, kbit/s, version bits, Hz, and where its side information ends."""

    size: int
    bitrate: int
    version: int
    rate: int
    side_end: int


class WholeMpeg(NamedTuple):
    """All frames of an MP3 file as pieces of it, after a header that states their number; and what was wrong.

    `mixed` where the frames have several sample rates; they cannot be read together.
    """

    pieces: tuple[Piece, ...]
    notice: str
    mixed: bool


def whole_mpeg(file: Binary) -> WholeMpeg | None:
    """The whole of an MP3 file that states no number of frames, or fewer than it holds; None for any other file."""
    total, start = file_size(file), _after_tag(file, 0)
    head = bytes_at(file, start, 1 << 12)
    first = _frame(head, 0)
    if first is None or _frame(head, first.size) is None:
        return None
    stated = _stated(head, first)
    if stated is not None and (stated[1] is None or abs(stated[1] - (total - start)) <= TOLERATED_BYTES):
        return None
    spans: list[Span] = []
    count, bitrates, rates = 0, set(), set()
    for offset, frame in _frames(file, start, total):
        if spans and offset == spans[-1].offset + spans[-1].size:
            spans[-1] = Span(spans[-1].offset, spans[-1].size + frame.size)
        else:
            spans.append(Span(offset, frame.size))
        count += 1
        bitrates.add(frame.bitrate)
        rates.add(frame.rate)
    if not count or (stated is not None and count <= stated[0] + 1):
        return None
    notice = f"its header states {stated[0]} frames, and {count} are there" if stated else ""
    if stated is None and (len(bitrates) > 1 or len(spans) > 1):
        notice = f"no header states the number of its frames, which is {count}"
    information = _information(head, first, count, sum(span.size for span in spans))
    return WholeMpeg((information, *spans), notice, len(rates) > 1)


def lacks_length(file: Binary) -> bool:
    """Whether a file begins with a frame of layer I or II, for which no header states the number of frames."""
    head = bytes_at(file, _after_tag(file, 0), 2)
    return len(head) == 2 and head[0] == 0xFF and head[1] & 0xE4 == 0xE4


def _frame(data: bytes, at: int) -> Frame | None:
    """The frame of layer III whose header begins at `data[at]`; None where there is none."""
    if len(data) < at + 4 or data[at] != 0xFF or data[at + 1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate = data[at + 1] >> 3 & 3, data[at + 2] >> 4, data[at + 2] >> 2 & 3
    if version == 1 or bitrate in (0, 15) or rate == 3:
        return None
    kilobits, hertz, mono = BITRATES[version][bitrate], RATES[version][rate], data[at + 3] >> 6 == 3
    size = (144 if version == 3 else 72) * 1000 * kilobits // hertz + (data[at + 2] >> 1 & 1)
    side = (17 if mono else 32) if version == 3 else (9 if mono else 17)
    return Frame(size, kilobits, version, hertz, 4 + side)


def _frames(file: Binary, start: int, total: int) -> Iterator[tuple[int, Frame]]:
    """(first byte, frame) of each frame that holds sound; what is no frame is passed over."""
    position, base, data = start, start, b""
    while position < total:
        if (position + LONGEST_FRAME + 10 > base + len(data) and base + len(data) < total) or position < base:
            base, data = position, bytes_at(file, position, BLOCK)
            if not data:
                return
        at = position - base
        frame = _frame(data, at)
        if frame is not None and position + frame.size <= total:
            if not _is_information(data[at : at + frame.size], frame):
                yield position, frame
            position += frame.size
        elif data[at : at + 3] == b"ID3":
            position = max(_after_tag(file, position), position + 10)
        else:
            position = _next_frame(data, at + 1, base)


def _next_frame(data: bytes, at: int, base: int) -> int:
    """Where the next two frames follow one another, or the data end."""
    while (at := data.find(b"\xff", at)) >= 0:
        frame = _frame(data, at)
        if frame is not None and (at + frame.size + 4 > len(data) or _frame(data, at + frame.size) is not None):
            return base + at
        at += 1
    return base + len(data)


def _after_tag(file: Binary, start: int) -> int:
    """The first byte after an ID3v2 tag at `start`; `start` where there is none."""
    head = bytes_at(file, start, 10)
    if head[:3] != b"ID3" or len(head) < 10:
        return start
    size = 0
    for byte in head[6:10]:
        size = size << 7 | byte & 0x7F
    return start + 10 + size + (10 if head[5] & 0x10 else 0)


def _is_information(data: bytes, frame: Frame) -> bool:
    return data[frame.side_end : frame.side_end + 4] in (b"Xing", b"Info") or data[36:40] == b"VBRI"


def _stated(head: bytes, first: Frame) -> tuple[int, int | None] | None:
    """(frames, bytes) that the first frame states; bytes may be missing. None where it states no number of frames."""
    if head[36:40] == b"VBRI":
        return int.from_bytes(head[50:54], "big"), int.from_bytes(head[46:50], "big")
    at = first.side_end
    if head[at : at + 4] not in (b"Xing", b"Info") or not head[at + 7] & 1:
        return None
    frames, size = (int.from_bytes(head[at + 8 + skip : at + 12 + skip], "big") for skip in (0, 4))
    return frames, size if head[at + 7] & 2 else None


def _information(head: bytes, first: Frame, frames: int, size: int) -> bytes:
    """A frame without sound that states the number of frames, as encoders write it before those of variable rate."""
    header = bytearray(head[:4])
    header[1] |= 1  # without a checksum
    for bitrate in range(1, 15):
        header[2] = bitrate << 4 | header[2] & 0x0C
        frame = _frame(bytes(header), 0)
        if frame is not None and frame.size >= INFORMATION_BYTES:
            break
    assert frame is not None
    content = bytes(header) + bytes(frame.side_end - 4) + b"Xing" + (3).to_bytes(4, "big")
    content += frames.to_bytes(4, "big") + (size + frame.size).to_bytes(4, "big")
    return content.ljust(frame.size, b"\0")
