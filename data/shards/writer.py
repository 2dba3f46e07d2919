"""Writing tar shards: each appears under its name once it is complete, and has the same bytes every time."""

import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from data.errors import AudioReadError
from data.shards.names import tar_name
from data.shards.source import ShardRow
from data.sources.base import Clip


class Entry(NamedTuple):
    """A file for a shard: its name and bytes, and the seconds and sample rate of its sound."""

    name: str
    data: bytes
    seconds: float
    sample_rate: int


class Filtered(NamedTuple):
    """A clip that is left out on purpose.

    Attributes:
        path: its name in the shards.
        seconds: its length.
        reason: in two words.
        value: that is out of bounds.
        source: the file that it is a part of, as the corpus names it.
        start: where in that file it begins, in seconds.
    """

    path: str
    seconds: float
    reason: str
    value: str
    source: str = ""
    start: float = 0.0


class Shard(NamedTuple):
    """A written shard.

    Attributes:
        bytes: its size.
        rows: of the manifest, one for each clip in it.
        bad: {path: reason} of the files that cannot be read.
        filtered: the clips that are left out on purpose.
    """

    bytes: int
    rows: list[ShardRow]
    bad: dict[str, str]
    filtered: list[Filtered]

    @classmethod
    def read(cls, path: Path) -> "Shard":
        """The record at `path`."""
        size, rows, bad, filtered = [*json.loads(path.read_text(encoding="utf-8")), []][:4]
        return cls(size, [ShardRow(*row) for row in rows], bad, [Filtered(*row) for row in filtered])

    def write(self, path: Path) -> None:
        """Write the record. One that filters nothing is as before there were filters."""
        write_text(path, json.dumps(self if self.filtered else self[:3]))


def write_shard(
    path: Path,
    clips: Sequence[tuple[str, Clip]],
    entries: Callable[[str, Clip], Iterable[Entry | Filtered]],
    *,
    advance: Callable[[], None],
) -> Shard:
    """Write the `entries` of `clips`, pairs (name in the shard, clip), into a tar file at `path`.

    A clip for which `entries` raises AudioReadError is left out, all of it, as are those that it calls filtered. If
    none is left, no file is written. `advance` is called before each clip. Raises OSError when the disk is full.
    """
    shard = Shard(0, [], {}, [])
    with completed(path) as temporary:
        with open(temporary, "wb") as file:
            with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name, clip in clips:
                    advance()
                    end, rows, filtered = tar.offset, len(shard.rows), len(shard.filtered)
                    try:
                        for entry in entries(name, clip):
                            if isinstance(entry, Filtered):
                                start = (clip.start or 0.0) + entry.start  # of a piece of a segment
                                shard.filtered.append(entry._replace(source=clip.path, start=start))
                            else:
                                recoded = clip.start is not None
                                shard.rows.append(_add(tar, entry, clip.speaker or "", path.name, recoded=recoded))
                    except AudioReadError as error:
                        shard.bad[error.path] = error.reason
                        del shard.rows[rows:], shard.filtered[filtered:]
                        _cut(tar, file, end)
            _flush(file)
        if not shard.rows:
            temporary.unlink()
    return shard._replace(bytes=path.stat().st_size) if shard.rows else shard


def _add(tar: tarfile.TarFile, entry: Entry, speaker: str, shard: str, *, recoded: bool) -> ShardRow:
    """Append a file to the tar file; returns its row for the manifest."""
    name, data, seconds, rate = entry
    info = tarfile.TarInfo(
        tar_name(name, data, recoded=recoded)
    )  # without time and owner, so that the bytes are the same every time
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))
    offset = tar.offset - -len(data) // 512 * -512
    return ShardRow(name, seconds, rate, speaker, shard, offset, len(data), hashlib.sha256(data).hexdigest())


def _cut(tar: tarfile.TarFile, file: BinaryIO, end: int) -> None:
    """Take back what was appended to the tar file after byte `end`."""
    file.seek(end)
    file.truncate()
    tar.offset = end


def write_text(path: Path, text: str) -> None:
    """Write a file that appears under its name once it is complete."""
    write_lines(path, [text])


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """Write lines, each with its line feed, as they come; the file appears under its name once it is complete."""
    with completed(path) as temporary, open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(lines)
        _flush(file)


@contextmanager
def completed(path: Path) -> Iterator[Path]:
    """A path to write to: the file there gets the name `path` at the end of the block, and is removed after an error.

    Every use has a path of its own: a worker that was given up for dead may still write when the next one does.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        if temporary.exists():
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _flush(file: IO) -> None:
    file.flush()
    os.fsync(file.fileno())
