"""Binary files to read and seek: files on disk or in shards, and files put together from pieces of them."""

import bisect
import io
import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol


class Span(NamedTuple):
    """Bytes of a file: the first one, and how many."""

    offset: int
    size: int


Piece = bytes | Span


class Binary(Protocol):
    """What is read from: a member of a shard, or an opened file."""

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def read(self, size: int, /) -> bytes: ...


def bytes_at(file: Binary, offset: int, size: int) -> bytes:
    """The `size` bytes from `offset` on, fewer at the end of the file."""
    file.seek(offset)
    return file.read(size)


def file_size(file: Binary) -> int:
    """The number of bytes in a file."""
    return file.seek(0, io.SEEK_END)


class VirtualFile(ABC):
    """A binary file in the form that soundfile reads: `seek`, `tell`, `read` and `readinto`."""

    def __init__(self, size: int) -> None:
        self.size, self._position = size, 0

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + (0, self._position, self.size)[whence]
        return self._position

    def read(self, size: int) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: self.readinto(buffer)])

    @abstractmethod
    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` from the current position on, as far as the file goes; returns how many bytes."""


class PiecedFile(VirtualFile):
    """Pieces of `file`, and bytes in place of others, one after the other."""

    def __init__(self, file: Binary, pieces: Sequence[Piece]) -> None:
        sizes = [len(piece) if isinstance(piece, bytes) else piece.size for piece in pieces]
        super().__init__(sum(sizes))
        self._file, self._pieces = file, list(pieces)
        self._ends = list(itertools.accumulate(sizes))

    def close(self) -> None:
        """Release the file."""
        if hasattr(self._file, "close"):
            self._file.close()

    def readinto(self, buffer: Any) -> int:
        done, wanted = 0, len(buffer)
        number = bisect.bisect_right(self._ends, self._position)
        while done < wanted and number < len(self._pieces):
            piece, left = self._pieces[number], self._ends[number] - self._position
            size = min(wanted - done, left)
            if isinstance(piece, bytes):
                data = piece[len(piece) - left :][:size]
            else:
                data = bytes_at(self._file, piece.offset + piece.size - left, size)
            buffer[done : done + len(data)] = data
            done, self._position = done + len(data), self._position + len(data)
            if len(data) < size:
                break
            number += size == left
        return done
