"""Lists that are text: tables with a header line, lines with "|" between the fields, and plain lists of paths."""

import csv
import os
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from data.errors import DataError
from data.sources.lists.entry import Entry, plain_suffix, read_lines, refusal
from data.sources.lists.fields import PATH_COLUMNS, SHARD_COLUMNS, columns_of, entry_of
from data.sources.tree import MEDIA_SUFFIXES

DELIMITERS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars"}
TABLE_SUFFIXES = {".tsv", ".csv"}


def text_entries(file: Path, text: tuple[str, ...] = ()) -> Iterator[Entry]:
    """The entries of a text file, whose form its first line tells. Raises DataError.

    `text` names the columns of which the first that is not empty is what is said; with none it is not read.
    """
    lines = read_lines(file)
    first = next(lines, "")
    suffix = plain_suffix(file)
    delimiter = _delimiter(first, preferred="," if suffix == ".csv" else "\t")
    if delimiter:
        return _table(file, chain([first], lines), delimiter, text)
    if _is_folder(first, file) and suffix not in (".csv", ".scp"):
        return _fairseq(first.strip(), lines)
    if "|" in first:
        return _bars(chain([first], lines), reads_text="text" in text)
    if suffix in TABLE_SUFFIXES:
        header = first.rstrip("\n").split("\t" if suffix == ".tsv" else ",")
        problem = f"has no column {' or '.join(PATH_COLUMNS[:6])} among {str(header)[:200]}"
        separators = "tabs" if suffix == ".tsv" else "commas"
        raise refusal(file, 1, problem, f"name the columns in the first line, separated by {separators}")
    return _paths(chain([first], lines))


def _delimiter(header: str, *, preferred: str) -> str | None:
    """What stands between the columns of a header line; None where no column of paths is found."""
    for delimiter in (preferred, *(each for each in DELIMITERS if each != preferred)):
        if columns_of(tuple(_split(header, delimiter))).path:
            return delimiter
    return None


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], **_dialect(delimiter)), [])
    except csv.Error:
        return []


def _dialect(delimiter: str) -> dict:
    """Options of `csv.reader`: fields are quoted between commas and semicolons only."""
    return {"delimiter": delimiter, "quoting": csv.QUOTE_MINIMAL if delimiter in ",;" else csv.QUOTE_NONE}


def _table(file: Path, lines: Iterable[str], delimiter: str, text: tuple[str, ...]) -> Iterator[Entry]:
    reader = csv.reader(lines, **_dialect(delimiter))
    names = tuple(next(reader))
    if set(names) >= SHARD_COLUMNS:
        problem = "is a list of clips in shards"
        raise DataError("the manifest", file, problem, f"give {file.parent} as `root` to data.ShardSource")
    columns = columns_of(names, text)
    try:
        for values in reader:
            if columns.text and any(map(str.strip, values[len(names) :])):  # else the text would be cut without a word
                problem = f"has {len(values)} fields below {len(names)} column names"
                raise refusal(file, reader.line_num, problem, "put texts that hold the delimiter in quotes")
            if values:
                yield entry_of(file, reader.line_num, values, columns)
    except csv.Error as error:
        raise refusal(file, reader.line_num + 1, f"is no row of a table ({error})") from None


def _bars(lines: Iterable[str], *, reads_text: bool) -> Iterator[Entry]:
    """Lines as those of LJSpeech, "id|text": the first field is a path, or a file's name without its extension.

    The text is the second of two fields. Of three it is the last behind a name, as in LJSpeech's "id|text|text with
    its numbers as words"; behind a path the second may be a speaker, and no text is read.
    """
    for number, line in enumerate(lines, start=1):
        path, *rest = (field.strip() for field in line.split("|"))
        if path:
            named = len(rest) == 2 and PurePosixPath(path).suffix.lower() not in MEDIA_SUFFIXES
            known = rest if reads_text and (len(rest) == 1 or named) else []
            yield Entry(number, path, text=next(filter(None, reversed(known)), None))


def _paths(lines: Iterable[str]) -> Iterator[Entry]:
    """A path a line; a line that begins with # is a comment."""
    for number, line in enumerate(lines, start=1):
        path = line.strip()
        if path and not path.startswith("#"):
            yield Entry(number, path)


def _is_folder(first: str, file: Path) -> bool:
    """Whether the first line is a folder, as in fairseq's lists."""
    name = first.strip()
    return bool(name) and "\t" not in name and os.path.isdir(file.parent / name)


def _fairseq(folder: str, lines: Iterable[str]) -> Iterator[Entry]:
    """fairseq's lists: the folder, then "path, tab, number of samples" a line, relative to it."""
    for number, line in enumerate(lines, start=2):
        path = line.partition("\t")[0].strip()
        if path:
            yield Entry(number, os.path.join(folder, path))
