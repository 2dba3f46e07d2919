"""Lists in JSON lines: one object a line, which is a row of columns or one of Lhotse's cuts and recordings."""

import json
from collections.abc import Iterator
from pathlib import Path

from data.sources.lists.entry import Entry, read_lines, refusal
from data.sources.lists.fields import columns_of, entry_of
from data.sources.lists.lhotse import is_lhotse, lhotse_entry


def object_entries(file: Path) -> Iterator[Entry]:
    """The entries of a file of JSON lines. Raises DataError."""
    for line, text in enumerate(read_lines(file), start=1):  # JSON strings may hold other line breaks
        if text.strip():
            row = _parsed(file, line, text)
            if is_lhotse(row):
                yield lhotse_entry(file, line, row)
            else:
                yield entry_of(file, line, list(row.values()), columns_of(tuple(row)))


def _parsed(file: Path, line: int, text: str) -> dict:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(file, line, f"is not JSON ({error})", "write one object a line") from None
    if not isinstance(row, dict):
        raise refusal(file, line, f"is {text[:40].strip()!r}, not an object", 'write {"path": ...}')
    return row
