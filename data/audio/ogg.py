"""The streams of an Ogg file, one after the other, and their last pages (RFC 3533)."""

import re
from typing import NamedTuple

from data.audio.binary import Binary, Span, bytes_at, file_size

SEARCHED_BYTES = 1 << 22  # files up to this size are searched for joined streams, of larger ones both ends are compared
BLOCK = 1 << 20
JUNK_BYTES = 256  # after the last page
TWO_PAGES = 1 << 17
FIRST_PAGE = re.compile(rb"OggS\0[\x02\x03\x06]")
PAGE = re.compile(rb"OggS\0[\0-\x07]")


class Link(NamedTuple):
    """A stream: its bytes, and for Vorbis the frames of its last page, where libsndfile seeks to a wrong place."""

    span: Span
    last_page: int


def find_links(file: Binary) -> list[Link]:
    """The streams of an Ogg file. Those side by side, as of sound and video, count as one."""
    total = file_size(file)
    starts = [0]
    if total <= SEARCHED_BYTES or _serial(bytes_at(file, 0, 64), 0) != _last_serial(file, total):
        starts = _first_pages(file, total) or [0]
    ends = [*starts[1:], total]
    return [
        Link(Span(start, end - start), _last_page_frames(file, start, end))
        for start, end in zip(starts, ends, strict=True)
    ]


def _first_pages(file: Binary, total: int) -> list[int]:
    """Where streams begin, apart from those whose first page follows directly on that of another."""
    starts: list[int] = []
    for begin in range(0, total, BLOCK):
        data = bytes_at(file, begin, BLOCK + 5)
        starts += [begin + found.start() for found in FIRST_PAGE.finditer(data)]
    before = [-1, *starts]
    return [start for start, last in zip(starts, before, strict=False) if last < 0 or start != _page_end(file, last)]


def find_gap(file: Binary) -> str:
    """What is missing in a file of one stream, up to SEARCHED_BYTES: pages inside it, or its end. Empty for nothing."""
    total, page = file_size(file), 0
    if total > SEARCHED_BYTES:
        return ""
    data, last = bytes_at(file, 0, total), False
    while page < total:
        if data[page : page + 4] != b"OggS" or page + 27 > total:
            if last or total - page <= JUNK_BYTES:
                break
            return f"its pages are damaged after byte {page}, and the sound there is missing"
        segments = data[page + 26]
        last = bool(data[page + 5] & 4)
        page += 27 + segments + sum(data[page + 27 : page + 27 + segments])
    if page > total:
        return "it is cut inside a page, and the sound after it is missing"
    return "" if last else "its last page is missing, and the sound there may be"


def _page_end(file: Binary, start: int) -> int:
    lacing = bytes_at(file, start + 26, 256)
    return start + 27 + lacing[0] + sum(lacing[1 : 1 + lacing[0]])


def _serial(data: bytes, page: int) -> bytes:
    return data[page + 14 : page + 18]


def _last_serial(file: Binary, total: int) -> bytes:
    data = bytes_at(file, max(0, total - TWO_PAGES), TWO_PAGES)
    pages = [found.start() for found in PAGE.finditer(data)]
    return _serial(data, pages[-1]) if pages else b""


def _last_page_frames(file: Binary, start: int, end: int) -> int:
    if bytes_at(file, start + 28, 7) != b"\x01vorbis":
        return 0
    first = max(start, end - TWO_PAGES)
    data = bytes_at(file, first, end - first)
    places = [int.from_bytes(data[at + 6 : at + 14], "little") for at in (p.start() for p in PAGE.finditer(data))]
    ended = [place for place in places if place < 2**63]  # -1 where no packet ends on the page
    return ended[-1] - ended[-2] if len(ended) > 1 else 2**62
