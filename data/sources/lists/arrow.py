"""Rows of Arrow and Parquet files as Hugging Face's datasets writes them: where the audio is, and facts about it.

The bytes of the audio are not read.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.audio.library import import_pyarrow
from data.audio.members import member_path, row_path
from data.audio.parquet import column_bytes
from data.errors import DataError
from data.sources.lists.fields import ID_COLUMNS, PATH_COLUMNS, SECONDS_COLUMNS, SPEAKER_COLUMNS, SPLIT_COLUMNS

BYTES_COLUMNS = ("audio", "bytes", "audio_bytes", "wav", "flac", "mp3", "ogg", "opus", "speech")
ROWS_AT_ONCE = 10_000
Place = tuple[int, int]  # where the bytes are: (offset, size) in an Arrow file, (row group, row) in a Parquet file


class Row(NamedTuple):
    """A row: where its bytes are (None where it has none), the path that it states, their size, and facts as texts."""

    place: Place | None
    path: str | None
    size: int
    facts: dict[str, str]


class Table(NamedTuple):
    """A file, and which of its columns are used.

    Attributes:
        file: ends in .arrow or .parquet.
        audio: name of the column with the audio.
        kind: "struct" for {bytes, path}, "bytes", or "path".
        facts: names of the columns with an id, a length, a speaker, a split and a text.
        labels: {column: names} of columns that hold the numbers of names.
    """

    file: Path
    audio: str
    kind: str
    facts: tuple[str, ...]
    labels: dict[str, list[str]]

    def member(self, row: Row, name: str) -> str:
        """The path of the row's audio, whose bytes are in the file."""
        assert row.place is not None
        if self.file.suffix == ".arrow":
            return member_path(str(self.file), name, offset=row.place[0], size=row.place[1])
        column = f"{self.audio}.bytes" if self.kind == "struct" else self.audio
        group, number = row.place
        return row_path(str(self.file), name, group=group, row=number, column=column, size=row.size)


def open_table(file: Path, audio: str | None, text: Sequence[str] = ()) -> Table:
    """Find the columns of a file. Raises DataError.

    `audio` names that of the audio, None for the only one; `text` those that may hold what is said: a single one has to
    be there.
    """
    with _refusing(file):
        schema = _parquet(file).schema_arrow if file.suffix == ".parquet" else _arrow_stream(file)[0].schema
    kinds = {field.name: kind for field in schema if (kind := _audio_kind(field))}
    if audio is None:
        embedded = [name for name, kind in kinds.items() if kind != "path"]
        named = embedded or [name for name in PATH_COLUMNS if name in kinds]
        if len(embedded) > 1 and "audio" not in embedded:
            raise DataError(str(file), allowed=f"has audio in {', '.join(embedded)}", remedy="name one as `column`")
        audio = "audio" if "audio" in named else next(iter(named), None)
    if audio is None or audio not in kinds:
        problem = f"has no audio among its columns {', '.join(schema.names)[:200]}"
        raise DataError(str(file), allowed=problem, remedy="name a column with bytes or paths as `column`")
    known = {*ID_COLUMNS, *SECONDS_COLUMNS, *SPEAKER_COLUMNS, *SPLIT_COLUMNS, *text} - {audio}
    facts = tuple(field.name for field in schema if field.name in known and field.type.num_fields == 0)
    if len(text) == 1 and text[0] not in facts:
        problem = f"has no text in a column {text[0]!r} among {', '.join(schema.names)[:200]}"
        raise DataError(str(file), allowed=problem, remedy="name another as `text`, or leave it out")
    return Table(file, audio, kinds[audio], facts, _labels(schema, facts))


def rows_of(table: Table) -> Iterator[Row]:
    """The rows of a file, a few at a time. Raises DataError."""
    with _refusing(table.file):
        yield from _parquet_rows(table) if table.file.suffix == ".parquet" else _arrow_rows(table)


def fact(row: Row, columns: Sequence[str]) -> str | None:
    """The fact in the first of `columns` that the row has."""
    return next((row.facts[name] for name in columns if name in row.facts), None)


def _audio_kind(field: Any) -> str | None:
    pyarrow = import_pyarrow()
    binary = (pyarrow.binary(), pyarrow.large_binary())
    text = (pyarrow.string(), pyarrow.large_string())
    if pyarrow.types.is_struct(field.type):
        names = [field.type.field(number).name for number in range(field.type.num_fields)]
        return "struct" if "bytes" in names and field.type.field("bytes").type in binary else None
    if field.type in binary and field.name in BYTES_COLUMNS:
        return "bytes"
    return "path" if field.type in text and field.name in PATH_COLUMNS else None


def _labels(schema: Any, facts: Sequence[str]) -> dict[str, list[str]]:
    """The names of columns that Hugging Face calls class labels."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {name: list(features[name]["names"]) for name in facts if "names" in features.get(name, ())}
    except (KeyError, TypeError, ValueError):
        return {}


def _arrow_stream(file: Path) -> tuple[Any, int]:
    """(reader of the batches, address of the file's first byte in memory)."""
    pyarrow = import_pyarrow()
    mapped = pyarrow.memory_map(str(file))
    first = mapped.read_buffer(mapped.size())
    if bytes(first[:6]) == b"ARROW1":
        return pyarrow.ipc.open_file(first), first.address
    return pyarrow.ipc.open_stream(first), first.address


def _arrow_rows(table: Table) -> Iterator[Row]:
    reader, address = _arrow_stream(table.file)
    count = getattr(reader, "num_record_batches", None)
    batches = reader if count is None else (reader.get_batch(number) for number in range(count))
    for batch in batches:
        audio = batch.column(table.audio)
        facts = _facts(table, batch)
        paths = _paths(table, audio)
        data = audio.field("bytes") if table.kind == "struct" else audio
        places = _places(data, address, table.file) if table.kind != "path" else [None] * len(batch)
        for place, path, row_facts in zip(places, paths, facts, strict=True):
            yield Row(place, path, place[1] if place else 0, row_facts)


def _places(data: Any, first: int, file: Path) -> list[Place | None]:
    """(offset in the file, size) of each value of an array of bytes; None for null."""
    wide = str(data.type).startswith("large")
    _, offsets, values = data.buffers()
    if values is None or not values.size:
        return [None] * len(data)
    ends = np.frombuffer(offsets, np.int64 if wide else np.int32)[data.offset : data.offset + len(data) + 1]
    begin = values.address - first
    if not 0 <= begin <= file.stat().st_size - values.size:
        raise DataError(str(file), allowed="is compressed", remedy="write it with `save_to_disk` of datasets")
    valid = data.is_valid().to_pylist()
    sizes = np.diff(ends).tolist()
    return [
        (begin + start, size) if ok and size else None
        for start, size, ok in zip(ends[:-1].tolist(), sizes, valid, strict=True)
    ]


def _parquet(file: Path) -> Any:
    return import_pyarrow("pyarrow.parquet").ParquetFile(str(file), memory_map=True)


def _parquet_rows(table: Table) -> Iterator[Row]:
    parquet = _parquet(table.file)
    stated = {"struct": [f"{table.audio}.path"], "path": [table.audio]}.get(table.kind, [])
    column = f"{table.audio}.bytes" if table.kind == "struct" else table.audio
    for group in range(parquet.num_row_groups):
        rows = parquet.metadata.row_group(group).num_rows
        size = column_bytes(parquet.metadata, group, column) // max(1, rows)
        embedded = table.kind != "path" and not _all_null(parquet.metadata.row_group(group), column)
        number = 0
        for batch in parquet.iter_batches(ROWS_AT_ONCE, row_groups=[group], columns=[*stated, *table.facts]):
            audio = batch.column(table.audio) if stated and table.audio in batch.schema.names else None
            paths = [None] * len(batch) if audio is None else _paths(table, audio)
            for path, row_facts in zip(paths, _facts(table, batch), strict=True):
                yield Row((group, number) if embedded else None, path, size, row_facts)
                number += 1
        for rest in range(number, rows):  # of a file with no other columns
            yield Row((group, rest) if embedded else None, None, size, {})


def _all_null(group: Any, column: str) -> bool:
    """Whether the file states that a column of a row group is empty."""
    for number in range(group.num_columns):
        chunk = group.column(number)
        if chunk.path_in_schema == column and chunk.statistics is not None and chunk.statistics.has_null_count:
            return bool(chunk.statistics.null_count == group.num_rows)
    return False


def _paths(table: Table, audio: Any) -> list[str | None]:
    """The path that each row states."""
    if table.kind == "path":
        return audio.to_pylist()
    names = [audio.type.field(number).name for number in range(audio.type.num_fields)] if table.kind == "struct" else []
    return audio.field("path").to_pylist() if "path" in names else [None] * len(audio)


def _facts(table: Table, batch: Any) -> list[dict[str, str]]:
    """The facts of each row of a batch, without those that are empty."""
    found: list[dict[str, str]] = [{} for _ in range(len(batch))]
    for name in table.facts:
        labels = table.labels.get(name, ())
        for row, value in zip(found, batch.column(name).to_pylist(), strict=True):
            if value is not None and value != "":
                numbered = isinstance(value, int) and 0 <= value < len(labels)
                row[name] = str(labels[value] if numbered else value)
    return found


@contextmanager
def _refusing(file: Path) -> Iterator[None]:
    """Inside, an error of Arrow becomes a DataError that names the file."""
    try:
        yield
    except DataError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160]
        problem = f"cannot be read ({type(error).__name__}: {reason})"
        raise DataError("the file", file, problem, "copy or write it again") from error
