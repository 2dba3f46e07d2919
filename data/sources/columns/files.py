"""A column in an .npy file: written piece by piece, checked, and mapped into memory when it is read."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

HEADER_BYTES = 128  # of every .npy file here, so that the length can be filled in at the end
READ_BYTES = 1 << 20


class ColumnWriter:
    """An .npy file of one dimension whose length is known only at the end of the `with` block.

    Args:
        path: the file.
        dtype: of its elements.

    Raises:
        OSError: The disk is full, or the folder not writable.
    """

    def __init__(self, path: Path, dtype: Any) -> None:
        self._dtype, self._bytes = np.dtype(dtype), 0
        self._file = open(path, "wb")  # noqa: SIM115 - `__exit__` closes it
        self._file.write(bytes(HEADER_BYTES))

    def write(self, values: bytes | np.ndarray) -> None:
        """Append values, or the bytes of values."""
        data = values if isinstance(values, bytes) else np.ascontiguousarray(values, dtype=self._dtype).tobytes()
        self._file.write(data)
        self._bytes += len(data)

    def __enter__(self) -> "ColumnWriter":
        return self

    def __exit__(self, *_: object) -> None:
        with self._file as file:
            file.seek(0)
            header = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._bytes // self._dtype.itemsize,)}
            np.lib.format.write_array_header_1_0(file, header)
            assert file.tell() == HEADER_BYTES


class Column:
    """A column that a `ColumnWriter` has written, read through a memory map that all processes share.

    It is pickled as its path. A slice is an array, and so is the whole by `np.asarray`; neither is copied.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._array: np.ndarray | None = None

    @property
    def array(self) -> np.ndarray:
        if self._array is None:
            mapped = np.load(self.path, mmap_mode="r") if self.path.stat().st_size > HEADER_BYTES else None
            self._array = np.load(self.path) if mapped is None else np.asarray(mapped)  # an empty map is not allowed
        return self._array

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, place: Any) -> Any:
        return self.array[place]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.array)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.array, dtype=dtype) if copy else np.asarray(self.array, dtype=dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path,)


def fingerprint(path: Path) -> list[int]:
    """[bytes, CRC-32] of a file, which is read through a small buffer and not mapped."""
    size, crc = 0, 0
    with open(path, "rb", buffering=0) as file:
        while block := file.read(READ_BYTES):
            size, crc = size + len(block), zlib.crc32(block, crc)
    return [size, crc]
