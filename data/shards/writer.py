"""Writing tar shards: each appears under its name once it is complete, and has the same bytes every time."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import IO, BinaryIO, NamedTuple

from data.errors import AudioReadError
from data.shards.source import ShardRow
from data.sources.base import Clip


class Entry(NamedTuple):
    """A file for a shard: its name and bytes, and the seconds and sample rate of its sound."""

    name: str
    data: bytes
    seconds: float
    sample_rate: int


class Shard(NamedTuple):
    """A written shard: its size, a manifest row for each clip in it, and {path: reason} of those left out."""

    bytes: int
    rows: list[ShardRow]
    bad: dict[str, str]

    @classmethod
    def read(cls, path: Path) -> "Shard":
        size, rows, bad = json.loads(path.read_text(encoding="utf-8"))
        return cls(size, [ShardRow(*row) for row in rows], bad)


def write_shard(
    path: Path,
    clips: Sequence[tuple[str, Clip]],
    entries: Callable[[str, Clip], Iterable[Entry]],
    *,
    advance: Callable[[], None],
) -> Shard:
    """Write the `entries` of `clips`, pairs (name in the shard, clip), into a tar file at `path`.

    A clip for which `entries` raises AudioReadError is left out, all of it. If none is left, no file is written.
    `advance` is called before each clip. Raises OSError when the disk is full.
    """
    rows: list[ShardRow] = []
    bad: dict[str, str] = {}
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
            for name, clip in clips:
                advance()
                end, count = tar.offset, len(rows)
                try:
                    for entry in entries(name, clip):
                        rows.append(_add(tar, entry, clip.speaker or "", path.name))
                except AudioReadError as error:
                    bad[error.path] = error.reason
                    del rows[count:]
                    _cut(tar, file, end)
        _flush(file)
    if rows:
        temporary.replace(path)
    else:
        temporary.unlink()
    return Shard(path.stat().st_size if rows else 0, rows, bad)


def _add(tar: tarfile.TarFile, entry: Entry, speaker: str, shard: str) -> ShardRow:
    """Append a file to the tar file; returns its row for the manifest."""
    name, data, seconds, rate = entry
    info = tarfile.TarInfo(name)  # without time and owner, so that the bytes are the same every time
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
    temporary = path.with_name(f".{path.name}.tmp")
    with open(temporary, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(lines)
        _flush(file)
    temporary.replace(path)


def _flush(file: IO) -> None:
    file.flush()
    os.fsync(file.fileno())
