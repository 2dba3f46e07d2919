"""The bytes in one row of a Parquet file, without the rest of the file: small row groups whole, large ones in steps."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from data.audio.library import import_pyarrow

GROUP_BYTES = 64 * 2**20  # a row group up to this size is decoded at once and kept
KEPT_GROUPS = 2
OPEN_FILES = 16
STEP_ROWS = 16  # decoded at once from a larger row group


def parquet_bytes(file: str, *, group: int, row: int, column: str) -> memoryview | None:
    """The binary value in `row` of a row group; None where it is null.

    Rows read one after the other cost little. Raises OSError or ValueError when the file cannot be read.
    """
    return _reader(os.getpid()).value(file, group, row=row, column=column)


def column_bytes(metadata: Any, group: int, column: str) -> int:
    """How many bytes a column takes in a row group, decompressed."""
    chunks = metadata.row_group(group)
    for number in range(chunks.num_columns):
        if chunks.column(number).path_in_schema == column:
            return int(chunks.column(number).total_uncompressed_size)
    raise ValueError(f"no column {column}")


@lru_cache(1)
def _reader(process: int) -> "_Reader":
    """The reader of a process: a forked one uses neither the lock nor the open files of its parent."""
    return _Reader()


class _Reader:
    """Open files, the row groups that were read last, and one place in a large row group; for one thread at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files: OrderedDict[str, Any] = OrderedDict()
        self._groups: OrderedDict[tuple[str, int, str], Any] = OrderedDict()
        self._steps: _Steps | None = None

    def value(self, file: str, group: int, *, row: int, column: str) -> memoryview | None:
        with self._lock:
            key = file, group, column
            values = self._groups.get(key)
            if values is None:
                parquet = self._opened(file)
                if column_bytes(parquet.metadata, group, column) > GROUP_BYTES:
                    if self._steps is None or self._steps.key != key or self._steps.first > row:
                        self._steps = _Steps(key, parquet)
                    return _bytes_of(*self._steps.at(row))
                values = _binary(parquet.read_row_group(group, columns=[column], use_threads=False).column(0), column)
                self._groups[key] = values
                if len(self._groups) > KEPT_GROUPS:
                    self._groups.popitem(last=False)
            self._groups.move_to_end(key)
            return _bytes_of(values, row)

    def _opened(self, file: str) -> Any:
        if file not in self._files:
            self._files[file] = import_pyarrow("pyarrow.parquet").ParquetFile(file, memory_map=True)
            if len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)
        self._files.move_to_end(file)
        return self._files[file]


class _Steps:
    """A large row group read from its start on, a few rows at a time."""

    def __init__(self, key: tuple[str, int, str], parquet: Any) -> None:
        _, group, self._column = self.key = key
        self._batches: Iterator[Any] = parquet.iter_batches(
            batch_size=STEP_ROWS, row_groups=[group], columns=[self._column], use_threads=False
        )
        self.first, self._values = 0, None

    def at(self, row: int) -> tuple[Any, int]:
        """(values, the place of `row` among them); no row before `first` can be had any more."""
        while self._values is None or row >= self.first + len(self._values):
            self.first += 0 if self._values is None else len(self._values)
            batch = next(self._batches, None)
            if batch is None:
                raise ValueError(f"no row {row} in the row group")
            self._values = _binary(batch.column(0), self._column)
        return self._values, row - self.first


def _binary(values: Any, column: str) -> Any:
    """The array of bytes in a column such as "audio.bytes", which is a struct."""
    for field in column.split(".")[1:]:
        pyarrow = import_pyarrow()
        chunks = values.chunks if isinstance(values, pyarrow.ChunkedArray) else [values]
        values = pyarrow.chunked_array([chunk.field(field) for chunk in chunks]) if chunks else values
    return values


def _bytes_of(values: Any, row: int) -> memoryview | None:
    if not 0 <= row < len(values):
        raise ValueError(f"no row {row} in the row group")
    buffer = values[row].as_buffer()
    return None if buffer is None else memoryview(buffer)
