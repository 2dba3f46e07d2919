"""Clips inside tar shards, Arrow and Parquet files, on disk or in object storage: their paths, and their bytes."""

import errno
import os
import re
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from data.audio.binary import VirtualFile
from data.audio.parquet import parquet_bytes
from data.errors import DataError

REQUEST_BYTES = 1 << 18  # read from object storage at once: most clips of speech are one request
OPEN_SHARDS = 128
MEMBER = re.compile(r"(.+?\.tar)/.*#(\d+)\+(\d+)", re.DOTALL)
ARROW = re.compile(r"(.+\.arrow)/[^/]*#(\d+)\+(\d+)", re.DOTALL)
ROW = re.compile(r"(.+\.parquet)/[^/]*#(\d+):(\d+):([^#]*)~(\d+)", re.DOTALL)


def member_path(shard: str, name: str, *, offset: int, size: int) -> str:
    """The path of the clip `name` whose `size` bytes begin at byte `offset` of the file or URL `shard`.

    That ends in .tar, or in .arrow for an Arrow file without compression, where `name` has no "/".
    """
    return f"{shard}/{name}#{offset}+{size}"


def row_path(file: str, name: str, *, group: int, row: int, column: str, size: int) -> str:
    """The path of the clip `name` whose bytes, about `size`, are in a row of a row group of a Parquet file."""
    return f"{file}/{name}#{group}:{row}:{column}~{size}"


class MemberFile(VirtualFile):
    """A clip in a shard as a binary file of `size` bytes to read and seek; `str` gives its path.

    Raises OSError, with the shard as its `filename`, when the shard cannot be read or ends before the clip does. This
    is found when the file is opened, as far as possible: nothing can be raised through libsndfile's callbacks.
    """

    def __init__(self, path: str, shard: str, *, offset: int, size: int) -> None:
        super().__init__(size)
        self._path, self._shard, self._offset = path, shard, offset

    def __str__(self) -> str:
        return self._path

    def _cut_off(self) -> OSError:
        reason = f"the shard is cut off: it ends before byte {self._offset + self.size}"
        return OSError(errno.EIO, reason, self._shard)


class _LocalMember(MemberFile):
    """Read through a memory map, which saves a system call for each of libsndfile's many small reads."""

    def __init__(self, path: str, shard: str, *, offset: int, size: int, mapped: mmap) -> None:
        super().__init__(path, shard, offset=offset, size=size)
        if mapped.size() < offset + size:  # reading a map beyond the end of its file kills the process
            raise self._cut_off()
        self._bytes = memoryview(mapped)[offset : offset + size]

    def readinto(self, buffer: Any) -> int:
        data = self._bytes[self._position : self._position + len(buffer)]
        count = len(data)
        buffer[:count] = data
        self._position += count
        return count


class _RowMember(MemberFile):
    """The bytes in a row of a Parquet file, in memory."""

    def __init__(self, path: str, file: str, data: memoryview) -> None:
        super().__init__(path, file, offset=0, size=len(data))
        self._bytes = data

    def readinto(self, buffer: Any) -> int:
        data = self._bytes[self._position : self._position + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


class _RemoteMember(MemberFile):
    """Read from object storage, a block at a time. The last byte is requested at once, to see that it is there."""

    def __init__(self, path: str, shard: str, *, offset: int, size: int, storage: tuple[Any, str]) -> None:
        super().__init__(path, shard, offset=offset, size=size)
        self._storage = storage
        self._start, self._block = 0, self._request(0)
        if len(self._block) < size:
            self._request(size - 1)

    def readinto(self, buffer: Any) -> int:
        if self._position >= self.size:
            return 0
        if not self._start <= self._position < self._start + len(self._block):
            self._start, self._block = self._position, self._request(self._position)
        data = self._block[self._position - self._start :][: len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _request(self, position: int) -> bytes:
        filesystem, path = self._storage
        last = min(position + REQUEST_BYTES, self.size)
        try:
            data = filesystem.cat_file(path, start=self._offset + position, end=self._offset + last)
        except Exception as error:  # each storage has its own kinds of errors
            raise OSError(errno.EIO, f"the shard cannot be read: {error!r}", self._shard) from error
        if len(data) < last - position:
            raise self._cut_off()
        return data


def open_member(path: str) -> MemberFile | None:
    """Open a path that `member_path` or `row_path` has made; None for any other.

    Raises OSError as `MemberFile` says, and DataError where the package for such files is missing.
    """
    found = _member(path)
    if found is None:
        return _open_row(path)
    shard, offset, size = found[1], int(found[2]), int(found[3])
    storage = _storage(shard, os.getpid())
    if isinstance(storage, mmap):
        return _LocalMember(path, shard, offset=offset, size=size, mapped=storage)
    return _RemoteMember(path, shard, offset=offset, size=size, storage=storage)


def local_file(path: str) -> str | None:
    """The file on disk that holds a clip: itself or its shard; None for one in object storage."""
    found = _member(path) or _row(path)
    return path if found is None else None if "://" in found[1] else found[1]


def member_size(path: str) -> int | None:
    """The number of bytes of a clip in a shard, about that of one in a Parquet file; None for any other path."""
    found = _member(path)
    if found is not None:
        return int(found[3])
    row = _row(path)
    return int(row[5]) if row else None


def _member(path: str) -> re.Match | None:
    found = ARROW.fullmatch(path) if ".arrow/" in path else None
    return found or (MEMBER.fullmatch(path) if ".tar/" in path else None)


def _row(path: str) -> re.Match | None:
    return ROW.fullmatch(path) if ".parquet/" in path else None


def _open_row(path: str) -> MemberFile | None:
    found = _row(path)
    if found is None:
        return None
    try:
        data = parquet_bytes(found[1], group=int(found[2]), row=int(found[3]), column=found[4])
    except DataError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError) as error:  # those of Arrow are of these classes
        raise OSError(errno.EIO, f"the file cannot be read: {str(error)[:200]}", found[1]) from error
    if data is None:
        raise OSError(errno.EIO, "the row holds no audio", path)
    return _RowMember(path, found[1], data)


@lru_cache(OPEN_SHARDS)
def _storage(shard: str, process: int) -> mmap | tuple[Any, str]:
    """A local shard as a memory map, any other as (file system, path).

    `process` keeps a forked worker from using its parent's connections, which do not survive a fork.
    """
    filesystem, path = fsspec.core.url_to_fs(shard)
    if not isinstance(filesystem, LocalFileSystem):
        return filesystem, path
    try:
        with open(path, "rb") as file:
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except (OSError, ValueError) as error:  # ValueError where it is empty
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(errno.EIO, f"the shard cannot be read: {reason}", shard) from error
