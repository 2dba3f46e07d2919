"""Lists in JSON lines: one object a line, which is a row of columns or one of Lhotse's cuts and recordings."""

import json
from collections.abc import Iterator
from pathlib import Path

from data.sources.lists.entry import Entry, read_lines, refusal
from data.sources.lists.fields import PATH_COLUMNS, entry_of, plain_names
from data.sources.lists.lhotse import is_lhotse, lhotse_entry


def object_entries(file: Path) -> Iterator[Entry]:
    """The entries of a file of JSON lines. Raises DataError."""
    for line, text in enumerate(read_lines(file), start=1):  # JSON strings may hold other line breaks
        if text.strip():
            row = _parsed(file, line, text)
            yield lhotse_entry(file, line, row) if is_lhotse(row) else entry_of(file, line, _fields(row))


def _parsed(file: Path, line: int, text: str) -> dict:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(file, line, f"is not JSON ({error})", "write one object a line") from None
    if not isinstance(row, dict):
        raise refusal(file, line, f"is {text[:40].strip()!r}, not an object", 'write {"path": ...}')
    return row


def _fields(row: dict) -> dict[str, str]:
    """The values as text; {"path": ...} for a path, as Hugging Face writes audio, is its path."""
    fields = {}
    for name, value in zip(plain_names(row), row.values(), strict=True):
        if isinstance(value, dict) and name in PATH_COLUMNS:
            value = value.get("path")
        if value is not None and value != "":
            fields[name] = str(value)
    return fields
