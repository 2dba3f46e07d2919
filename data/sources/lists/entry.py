"""What a line of a list states about a clip, and reading the lines of a text file, compressed or not."""

import gzip
import io
import math
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from data.errors import DataError

MAX_LINE_BYTES = 64 * 2**20  # a longer line is no row of a list: the file is something else


class Entry(NamedTuple):
    """One clip as its list states it.

    Attributes:
        line: of the list, from 1 on.
        path: of the audio file, as it is written there.
        seconds: length; None where it is not stated.
        start: where in the file a segment begins, in seconds; None where no segment is stated.
        id: the list's own name for the clip; None where it has none.
        speaker: None where it is not stated.
        split: such as "train"; None where it is not stated.
        text: what is said; None where it is not stated, or not read.
    """

    line: int
    path: str
    seconds: float | None = None
    start: float | None = None
    id: str | None = None
    speaker: str | None = None
    split: str | None = None
    text: str | None = None


def refusal(file: Path, line: int, problem: str, remedy: str = "") -> DataError:
    """The error of one line of a list."""
    return DataError(f"{file}, line {line}", None, problem, remedy)


def plain_suffix(file: Path) -> str:
    """The suffix of a list in lower case, such as ".tsv"; that below ".gz" where it is compressed."""
    inner = Path(file.stem) if file.suffix.lower() == ".gz" else file
    return inner.suffix.lower()


def read_lines(file: Path) -> Iterator[str]:
    """The lines of a UTF-8 text file, gzip-compressed where its name ends in .gz, each with its line feed.

    Line ends of all systems are read; a mark of the byte order is left out. Raises DataError.
    """
    number = 0
    try:
        with gzip.open(file) if file.suffix.lower() == ".gz" else open(file, "rb") as binary:
            while data := binary.readline(MAX_LINE_BYTES):
                number += 1
                if len(data) == MAX_LINE_BYTES:
                    raise refusal(file, number, "is longer than 64 MiB", "write one row a line")
                text = data.decode("utf-8-sig" if number == 1 else "utf-8")
                if "\r" in text:
                    yield from io.StringIO(text, newline=None)
                else:
                    yield text
    except UnicodeDecodeError as error:
        problem = f"is not UTF-8 text at byte {error.start + 1} of line {number}"
        raise DataError("the manifest", file, problem, "save it as UTF-8") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError("the manifest", file, f"is not a whole gzip file ({error})", "copy it again") from None
    except OSError as error:
        raise DataError("the manifest", file, f"cannot be read ({error.strerror or error})") from None


def stated_number(text: str | None) -> float | None:
    """The number in a field; None where it is empty. Raises ValueError unless it is finite."""
    if text is None:
        return None
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value
