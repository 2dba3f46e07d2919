"""Lists in JSON: one object a line, a row of columns or one of Lhotse's cuts and recordings; or one document."""

import json
from collections.abc import Iterator
from pathlib import Path

from data.sources.lists.entry import Entry, plain_suffix, read_lines, refusal
from data.sources.lists.fields import columns_of, entry_of
from data.sources.lists.lhotse import is_lhotse, lhotse_entry


def object_entries(file: Path, text: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The entries of a file of JSON lines, or of a .json file that is one list or object of them. Raises DataError.

    `text` names the keys of which the first that is not empty is what is said.
    """
    rows = _document(file) if plain_suffix(file) == ".json" else None
    for line, row in enumerate(rows, start=1) if rows is not None else _lines(file):
        if is_lhotse(row):
            yield lhotse_entry(file, line, row, text)
        else:
            yield entry_of(file, line, list(row.values()), columns_of(tuple(row), text))


def _lines(file: Path) -> Iterator[tuple[int, dict]]:
    for line, text in enumerate(read_lines(file), start=1):  # JSON strings may hold other line breaks
        if text.strip():
            yield line, _parsed(file, line, text)


def _document(file: Path) -> list[dict] | None:
    """The rows of a file that is one JSON value, a list of objects or, as SpeechBrain's, {id: object}; None for others.

    NeMo's .json files are JSON lines, and may be too large to be read at once.
    """
    first = next((line for line in read_lines(file) if line.strip()), "").strip()
    if not first.startswith(("[", "{")) or _is_row(first):
        return None
    text = "".join(read_lines(file))
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None  # reading line by line names the line
    rows = list(value.values()) if isinstance(value, dict) else value
    return rows if all(isinstance(row, dict) for row in rows) else None


def _is_row(text: str) -> bool:
    """Whether a line is an object with facts, not with objects alone."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(row, dict) and not all(isinstance(value, dict) for value in row.values())


def _parsed(file: Path, line: int, text: str) -> dict:
    try:
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refusal(file, line, f"is not JSON ({error})", "write one object a line") from None
    if not isinstance(row, dict):
        raise refusal(file, line, f"is {text[:40].strip()!r}, not an object", 'write {"path": ...}')
    return row
