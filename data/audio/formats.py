"""Opening a file with the decoder that reads it, as it is, or as its bytes say where its header is wrong."""

import os
import stat
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from data.audio.binary import Piece, PiecedFile, bytes_at
from data.audio.ffmpeg import AvDecoder, needs_ffmpeg
from data.audio.layouts import Layout, find_layout
from data.audio.library import import_soundfile
from data.audio.members import MemberFile, open_member
from data.audio.notices import NOTICES
from data.audio.streams import Decoder, JoinedStream, SoundDecoder, Stream
from data.errors import AudioReadError

UNRECOGNISED_FORMAT = 1  # libsndfile's SF_ERR_UNRECOGNISED_FORMAT
REMEMBERED = 1 << 14  # files
AnyStream = Stream | JoinedStream
Key = tuple[str, int, int]  # path, bytes, time of the last change


class Known(NamedTuple):
    """What this process has found out about a file: its layout, who decodes it, and the frames of its parts."""

    layout: Layout
    ffmpeg: bool = False
    lengths: tuple[int, ...] | None = None


_known: dict[Key, Known] = {}


def open_stream(path: str) -> AnyStream:
    """The frames of a file on disk or in a shard. What is wrong with its header is said once.

    Raises AudioReadError, OSError and what soundfile raises.
    """
    member = open_member(path)
    key = _identity(path) if member is None else (path, member.size, 0)
    known = _known.get(key) or _remember(key, _look_at(path))
    if known.layout.refusal:
        raise AudioReadError(path, known.layout.refusal)
    stream = _open(path, key, known)
    if known.layout.notice:
        NOTICES.say("odd header", path, f"{known.layout.notice}; read to its end")
    return stream


def _open(path: str, key: Key, known: Known) -> AnyStream:
    if known.ffmpeg:
        return _single(key, known, partial(_av_decoder, path, known=True))
    parts = known.layout.parts
    if not parts:
        return _plain(key, known, partial(_sound_decoder, path, estimated=known.layout.estimated))
    openers = [partial(_sound_decoder, path, pieces) for pieces in parts]
    return _single(key, known, openers[0]) if len(openers) == 1 else _joined(key, known, openers)


def _identity(path: str) -> Key:
    """Of a file on disk. Raises AudioReadError where there is nothing to open."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        raise AudioReadError(path, "does not exist or cannot be reached") from None
    if not stat.S_ISREG(found.st_mode):
        is_folder = stat.S_ISDIR(found.st_mode)
        raise AudioReadError(path, "is a folder" if is_folder else "does not exist or cannot be reached")
    if found.st_size == 0:
        raise AudioReadError(path, "empty: the file has 0 bytes")
    if not os.access(path, os.R_OK):
        raise AudioReadError(path, "unreadable: permission denied")
    return path, found.st_size, found.st_mtime_ns


def _look_at(path: str) -> Known:
    file = _binary(path)
    try:
        if needs_ffmpeg(bytes_at(file, 0, 16)):
            return Known(Layout(), ffmpeg=True)
        return Known(find_layout(file))
    finally:
        _close(file)


def _remember(key: Key, known: Known) -> Known:
    if len(_known) >= REMEMBERED:
        _known.clear()
    _known[key] = known
    return known


def _plain(key: Key, known: Known, opener: Callable[[], Decoder]) -> AnyStream:
    """A file as it is; FFmpeg, where it is installed, is tried with what soundfile does not recognise or not read."""
    library = import_soundfile()
    try:
        return _single(key, known, opener)
    except library.LibsndfileError as error:
        unrecognised = error.code == UNRECOGNISED_FORMAT
        if not unrecognised and not _is_foreign_ogg(key[0]):
            raise
        try:
            stream = _single(key, known, partial(_av_decoder, key[0], known=False))
        except AudioReadError:
            if unrecognised:
                raise
            raise error from None
    _remember(key, _known.get(key, known)._replace(ffmpeg=True))
    return stream


def _is_foreign_ogg(path: str) -> bool:
    """Whether a file is Ogg with FLAC, of which libsndfile reads some, or Speex."""
    file = _binary(path)
    try:
        head = bytes_at(file, 0, 36)
    finally:
        _close(file)
    return head[:4] == b"OggS" and head[28:].startswith((b"\x7fFLAC", b"Speex   "))


def _single(key: Key, known: Known, opener: Callable[[], Decoder]) -> Stream:
    stream = Stream(opener, known.lengths[0] if known.lengths else None, inexact=known.layout.inexact[0])
    if stream.counted:
        _remember(key, known._replace(lengths=(stream.frames,)))
        if not known.ffmpeg and not known.layout.estimated:
            NOTICES.say("odd header", key[0], "its header states no length; read to its end")
    return stream


def _joined(key: Key, known: Known, openers: Sequence[Callable[[], Decoder]]) -> JoinedStream:
    lengths = known.lengths
    if lengths is None:
        found = []
        for opener in openers:
            stream = Stream(opener)
            found.append((stream.samplerate, stream.channels, stream.frames))
            stream.close()
        if len({part[:2] for part in found}) > 1:
            kinds = ", ".join(sorted({f"{rate} Hz with {channels}" for rate, channels, _ in found}))
            refusal = f"joined from streams of several kinds ({kinds} channels): cut it into one file for each"
            _remember(key, known._replace(layout=Layout(refusal=refusal)))
            raise AudioReadError(key[0], refusal)
        lengths = tuple(frames for _, _, frames in found)
        _remember(key, known._replace(lengths=lengths))
    streams = [
        partial(Stream, opener, inexact=inexact) for opener, inexact in zip(openers, known.layout.inexact, strict=True)
    ]
    return JoinedStream(streams, lengths)


def _sound_decoder(path: str, pieces: tuple[Piece, ...] = (), *, estimated: bool = False) -> SoundDecoder:
    if pieces:
        return SoundDecoder(PiecedFile(_binary(path), pieces))
    return SoundDecoder(open_member(path) or os.fsencode(path), estimated=estimated)  # names need not be UTF-8


def _av_decoder(path: str, *, known: bool) -> AvDecoder:
    return AvDecoder(path, _binary(path), known=known)


def _binary(path: str) -> Any:
    return open_member(path) or open(os.fsencode(path), "rb")


def _close(file: Any) -> None:
    if not isinstance(file, MemberFile):
        file.close()
