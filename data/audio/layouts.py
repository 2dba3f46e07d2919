"""Where the sound of a file is, found from its bytes where the header may be wrong: cut, streamed and joined files."""

import re
from typing import Literal, NamedTuple

from data.audio.binary import Binary, Piece, Span, bytes_at, file_size
from data.audio.mpeg import lacks_length, whole_mpeg
from data.audio.ogg import find_gap, find_links

JUNK_BYTES = 256  # after the sound: tags and filling of this size are common
FILLING_BYTES = 1 << 12
STREAMED_BYTES = 2**31 - 2**16  # sizes of about 2 or 4 GiB are those of a file written to a pipe: all there is
MIXED = "joined from streams of several sample rates: cut it into one file for each"
NIST_SIZES = b"sample_count", b"sample_n_bytes", b"channel_count"
TAGS = b"TAG", b"ID3", b"APETAGEX"


class Layout(NamedTuple):
    """How to read a file.

    Attributes:
        parts: files to read one after the other, each of pieces of the file; empty for the file as it is.
        notice: what is wrong with the header, if something is.
        refusal: why the file cannot be used, if it cannot.
        inexact: for each part, in how many of its last frames libsndfile does not find the place that it seeks.
        estimated: whether libsndfile's number of frames is an estimate.
    """

    parts: tuple[tuple[Piece, ...], ...] = ()
    notice: str = ""
    refusal: str = ""
    inexact: tuple[int, ...] = (0,)
    estimated: bool = False


class Chunks(NamedTuple):
    """A container of chunks: an id of `id_bytes`, a size of `size_bytes`, the contents, filled up to `multiple`."""

    first: int
    id_bytes: int
    size_bytes: int
    byte_order: Literal["little", "big"]
    multiple: int
    sound: bytes  # id of the chunk that holds the sound
    inner: int = 0  # bytes of that chunk before the sound
    counts_header: bool = False


RIFF = Chunks(12, 4, 4, "little", 2, b"data")
W64_SOUND = b"data\xf3\xac\xd3\x11\x8c\xd1\x00\xc0O\x8e\xdb\x8a"
CONTAINERS = {
    b"RIFF": RIFF,
    b"RF64": RIFF,
    b"BW64": RIFF,
    b"RIFX": RIFF._replace(byte_order="big"),
    b"FORM": Chunks(12, 4, 4, "big", 2, b"SSND", inner=8),
    b"caff": Chunks(8, 4, 8, "big", 1, b"data", inner=4),
    b"riff": Chunks(40, 16, 8, "little", 8, W64_SOUND, counts_header=True),
}


class SizeField(NamedTuple):
    """What a header says of the sound: where that is, how many bytes, and the field that says so."""

    start: int
    size: int
    field: Span
    byte_order: Literal["little", "big"]
    addition: int = 0  # what the field counts beside the sound


def find_layout(file: Binary) -> Layout:
    """The layout of a file, from its first bytes and its size; joined and streamed files are looked through."""
    head = bytes_at(file, 0, 12)
    if head[:4] == b"OggS":
        links = find_links(file)
        if len(links) == 1:
            return Layout(notice=find_gap(file), inexact=(links[0].last_page,))
        notice = f"it is joined from {len(links)} streams, and its header tells of one"
        return Layout(tuple((link.span,) for link in links), notice, inexact=tuple(link.last_page for link in links))
    if head[:3] == b"ID3" or head[:1] == b"\xff":
        whole = whole_mpeg(file)
        if whole is None:
            return Layout(estimated=lacks_length(file))
        return Layout(refusal=MIXED) if whole.mixed else Layout((whole.pieces,), whole.notice)
    if head[:4] == b".snd":
        start, size = int.from_bytes(head[4:8], "big"), int.from_bytes(head[8:12], "big")
        return _sized(file, SizeField(start, size, Span(8, 4), "big"), None)
    if head[:7] == b"NIST_1A":
        return _nist(file)
    kind = CONTAINERS.get(head[:4])
    if kind is None or (head[:4] == b"FORM" and head[8:11] != b"AIF"):
        return Layout()
    field = _sound_chunk(file, kind)
    return Layout() if field is None else _sized(file, field, kind)


def _nist(file: Binary) -> Layout:
    """A SPHERE file, of which libsndfile reads the sound to the end of the file, whatever the header states."""
    fields = dict(re.findall(rb"^(\w+) -\S+ (\S+)", bytes_at(file, 0, FILLING_BYTES), re.MULTILINE))
    try:
        start = int(bytes_at(file, 8, 8))
        frames, width, channels = (int(fields[name]) for name in NIST_SIZES)
    except (KeyError, ValueError):
        return Layout()
    stated, present = frames * width * channels, file_size(file) - start
    if fields.get(b"sample_coding", b"pcm") not in (b"pcm", b"ulaw", b"mu-law", b"alaw") or stated <= 0:
        return Layout()
    if present < stated:
        return Layout(refusal=f"truncated: {present} of {stated} bytes of sound are there")
    if not _follows(file, start + stated, start + present, None):
        return Layout(notice=f"its header states {stated} bytes of sound, and {present} are there")
    return Layout(((Span(0, start + stated),),)) if present > stated else Layout()


def _sound_chunk(file: Binary, kind: Chunks) -> SizeField | None:
    position, header = kind.first, kind.id_bytes + kind.size_bytes
    large: SizeField | None = None  # of the ds64 chunk of RF64
    while len(data := bytes_at(file, position, header)) == header:
        id, size = data[: kind.id_bytes], _number(data[kind.id_bytes :], kind)
        contents = position + header
        size -= header if kind.counts_header else 0
        if id == kind.sound:
            if large is not None and size == 2**32 - 1:
                return large._replace(start=contents)
            field = Span(position + kind.id_bytes, kind.size_bytes)
            addition = kind.inner + (header if kind.counts_header else 0)
            return SizeField(contents + kind.inner, size - kind.inner, field, kind.byte_order, addition)
        if id == b"ds64":
            large = SizeField(0, _number(bytes_at(file, contents + 8, 8), kind), Span(contents + 8, 8), "little")
        if size < 0:
            return None
        position = contents + -(-size // kind.multiple) * kind.multiple
    return None


def _number(data: bytes, kind: Chunks) -> int:
    return int.from_bytes(data, kind.byte_order, signed=kind.size_bytes == 8)


def _sized(file: Binary, sound: SizeField, kind: Chunks | None) -> Layout:
    """As it is where the size in the header is right or something sensible follows the sound; else to the end."""
    total = file_size(file)
    present = max(0, total - sound.start)
    if sound.size > present:
        if sound.size < STREAMED_BYTES:
            return Layout(refusal=f"truncated: {present} of {sound.size} bytes of sound are there")
        notice = ""
    elif sound.size == present:
        return Layout()
    elif _follows(file, sound.start + max(0, sound.size), total, kind):
        as_it_is = kind is None or not kind.counts_header  # libsndfile reads the sound of W64 to the end of the file
        return Layout() if as_it_is else Layout(((Span(0, sound.start + sound.size),),))
    else:
        notice = "" if sound.size < 0 else f"its header states {sound.size} bytes of sound, and {present} are there"
    limit = 256**sound.field.size - 1
    size = min(present + sound.addition, limit).to_bytes(sound.field.size, sound.byte_order)
    after = sound.field.offset + sound.field.size
    return Layout(((Span(0, sound.field.offset), size, Span(after, total - after)),), notice)


def _follows(file: Binary, position: int, total: int, kind: Chunks | None) -> bool:
    """Whether what stands at `position` after the sound is tags, filling or chunks to the end, and not more sound."""
    left = total - position
    if left <= JUNK_BYTES and position > JUNK_BYTES:
        return True
    data = bytes_at(file, position, min(left, FILLING_BYTES))
    if data.startswith(TAGS) or (left <= FILLING_BYTES and not any(data)):
        return True
    if kind is None:
        return False
    header = kind.id_bytes + kind.size_bytes
    position = -(-position // kind.multiple) * kind.multiple
    while len(data := bytes_at(file, position, header)) == header:
        size = _number(data[kind.id_bytes :], kind) - (header if kind.counts_header else 0)
        if not re.fullmatch(rb"[ -~]{4}", data[:4]) or size < 0 or position + header + size > total + kind.multiple:
            return False
        position += header + -(-size // kind.multiple) * kind.multiple
    return True
