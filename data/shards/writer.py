"""Writing tar shards: each appears under its name once it is complete, and has the same bytes every time."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.audio.files import opened
from data.audio.library import import_soundfile
from data.audio.reading import check_readable, probe, read_whole
from data.errors import AudioReadError
from data.shards.source import ShardRow
from data.sources.base import Clip, refuse_shortened

WRITE_FRAMES = 1 << 16  # libsndfile's Ogg encoders overflow the stack on long blocks


class Encoding(NamedTuple):
    """A format of libsndfile to write clips in, and the extension of its files."""

    format: str
    subtype: str
    extension: str


FLAC = Encoding("FLAC", "PCM_16", ".flac")
FLAC_24 = Encoding("FLAC", "PCM_24", ".flac")
FLOAT = Encoding("WAV", "FLOAT", ".wav")
OPUS = Encoding("OGG", "OPUS", ".opus")
FLAC_CHANNELS, FLAC_RATE = 8, 655_350  # the most that a FLAC file can have
OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


class Recipe(NamedTuple):
    """How clips are stored: as mono in `encoding` at `sample_rate` Hz (None keeps the clip's own).

    Without an encoding, files are copied as they are, and segments are cut out without loss.
    """

    encoding: Encoding | None = None
    sample_rate: int | None = None


class Shard(NamedTuple):
    """A written shard: its size, a manifest row for each clip in it, and {path: reason} of those left out."""

    bytes: int
    rows: list[ShardRow]
    bad: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Shard":
        size, rows, bad = json.loads(path.read_text(encoding="utf-8"))
        return cls(size, [ShardRow(*row) for row in rows], bad)


def write_shard(path: Path, clips: Sequence[tuple[str, Clip]], recipe: Recipe, *, advance: Callable[[], None]) -> Shard:
    """Write those of `clips`, pairs (name in the shard, clip), that can be read into a tar file at `path`.

    If none can be read, no file is written. `advance` is called before each clip. Raises OSError when the disk is full.
    """
    rows: list[ShardRow] = []
    bad: dict[str, str] = {}
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, clip in clips:
                advance()
                try:
                    data, seconds, rate = _contents(clip, recipe)
                except AudioReadError as error:
                    bad[error.path] = error.reason
                    continue
                entry = tarfile.TarInfo(name)  # without time and owner, so that the bytes are the same every time
                entry.size = len(data)
                tar.addfile(entry, io.BytesIO(data))
                offset = tar.offset - -len(data) // 512 * -512
                digest = hashlib.sha256(data).hexdigest()
                rows.append(ShardRow(name, seconds, rate, clip.speaker or "", path.name, offset, len(data), digest))
        _flush(file)
    if rows:
        temporary.replace(path)
    else:
        temporary.unlink()
    return Shard(path.stat().st_size if rows else 0, rows, bad)


def write_text(path: Path, text: str) -> None:
    """Write a file that appears under its name once it is complete."""
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.write(text)
        _flush(file)
    temporary.replace(path)


def _contents(clip: Clip, recipe: Recipe) -> tuple[bytes, float, int]:
    """(bytes of the file, seconds, sample rate); the seconds are those that the source states, if it does.

    Raises AudioReadError for a clip that cannot be read to its end.
    """
    rate = probe(clip.path, clip.segment).rate
    if recipe.encoding is None:
        seconds = check_readable(clip.path, segment=clip.segment)
        data = Path(clip.path).read_bytes() if clip.segment is None else _segment_file(clip)
    else:
        rate = recipe.sample_rate or rate
        samples = read_whole(clip.path, (rate,), segment=clip.segment)[0][0].numpy()  # [T]
        seconds = len(samples) / rate
        data = _encoded(samples, rate, recipe.encoding)
    refuse_shortened(clip, seconds)
    return data, clip.seconds or seconds, rate


def _segment_file(clip: Clip) -> bytes:
    """A file of the segment's frames with all channels and exactly these samples: FLAC where it can hold them."""
    with opened(clip.path, clip.segment) as file:
        samples, rate = file.read_channels(0, file.frames), file.samplerate  # [T, C]
    for encoding, scale in ((FLAC, 2**15), (FLAC_24, 2**23)):
        steps = samples * scale
        whole = np.array_equal(steps, np.rint(steps)) and -scale <= steps.min() and steps.max() < scale
        if whole and samples.shape[1] <= FLAC_CHANNELS and rate <= FLAC_RATE:
            return _encoded(samples, rate, encoding)
    return _encoded(samples, rate, FLOAT)


def _encoded(samples: np.ndarray, rate: int, encoding: Encoding) -> bytes:
    """A file of `samples`, [T] or [T, C]."""
    buffer = io.BytesIO()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    with import_soundfile().SoundFile(
        buffer, "w", samplerate=rate, channels=channels, format=encoding.format, subtype=encoding.subtype
    ) as file:
        for start in range(0, len(samples), WRITE_FRAMES):
            file.write(samples[start : start + WRITE_FRAMES])
    return buffer.getvalue()


def _flush(file: io.IOBase) -> None:
    file.flush()
    os.fsync(file.fileno())
