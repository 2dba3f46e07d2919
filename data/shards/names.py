"""The names of files in shards: their endings say what they hold, as readers of webdataset's layout expect."""

from pathlib import PurePosixPath

from data.sources.tree import MEDIA_SUFFIXES

SIGNATURES = (  # (place of the mark, mark, ending)
    (0, b"fLaC", ".flac"),
    (0, b"RIFF", ".wav"),
    (0, b"RF64", ".wav"),
    (28, b"OpusHead", ".opus"),
    (0, b"OggS", ".ogg"),
    (0, b"ID3", ".mp3"),
    (0, b"\xff\xfb", ".mp3"),
    (0, b"\xff\xf3", ".mp3"),
    (0, b"FORM", ".aiff"),
    (0, b".snd", ".au"),
    (0, b"caff", ".caf"),
    (4, b"ftyp", ".m4a"),
    (0, b"NIST_1A", ".sph"),
)


def tar_name(name: str, data: bytes, *, recoded: bool) -> str:
    """The name in a tar file of a clip whose name in the manifest is `name`.

    It is the same, except for a name without an ending of audio, which gets that of its bytes, and for a segment that
    was cut out of a file of another kind (`recoded`), whose ending is replaced.
    """
    known = next((ending for place, mark, ending in SIGNATURES if data.startswith(mark, place)), "")
    path = PurePosixPath(name)
    if path.suffix.lower() not in MEDIA_SUFFIXES:
        return name + known
    return str(path.with_suffix(known)) if recoded and known else name
