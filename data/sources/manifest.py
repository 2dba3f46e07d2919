"""A corpus that is a list of audio files in a TSV or JSONL manifest."""

import csv
import io
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

from data.errors import DataError
from data.sources.base import AudioSource, Clip, clip_id

PATH_COLUMNS = ("path", "audio", "file", "filename")
SECONDS_COLUMNS = ("duration", "seconds")


class ManifestSource(AudioSource):
    """The clips that a TSV (with a header line) or JSONL manifest lists.

    Columns: `path` (or `audio`, `file`, `filename`), and where known `seconds` (or `duration`), `speaker`, `split`;
    others are ignored.

    Args:
        path: the manifest, a .tsv or .jsonl file.
        split: only the rows of this split; None for all rows.
        root: the folder that paths are relative to; by default the manifest's.
        name: of the corpus, in front of the ids. Ids are the paths relative to `root`.

    Raises:
        DataError: `clips` cannot use the manifest; with the line number where a row is the reason.
    """

    def __init__(
        self, path: str, split: str | None = None, *, root: str | None = None, name: str | None = None
    ) -> None:
        self.path, self.split, self.name = Path(path).expanduser(), split, name
        self.root = Path(root).expanduser() if root else self.path.parent

    def clips(self) -> list[Clip]:
        if not self.path.is_file():
            raise DataError("the manifest", self.path, "does not exist", "give a .tsv or .jsonl file as `path`")
        rows = list(self._rows())
        splits = sorted({row["split"] for _, row in rows if row.get("split")})
        if self.split is not None and self.split not in splits:
            remedy = f"choose from {', '.join(splits)[:200]}" if splits else "leave `split` out, or add such a column"
            raise DataError("the manifest", self.path, f"has no split {self.split!r}", remedy)
        clips = [self._clip(line, row) for line, row in rows if self.split in (None, row.get("split"))]
        if not clips:
            raise DataError("the manifest", self.path, "lists no clips", "add a row for each audio file")
        if not any(os.path.exists(clip.path) for clip in clips[:100]):
            problem = f"lists {clips[0].path[:200]}, which does not exist"
            raise DataError("the manifest", self.path, problem, "set `root` to the audio folder")
        return clips

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(line number, {column: text}) of each row."""
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            problem = f"is not UTF-8 text at byte {error.start}"
            raise DataError("the manifest", self.path, problem, "save it as UTF-8") from None
        if self.path.suffix.lower() in (".jsonl", ".json"):
            for line, entry in enumerate(text.split("\n"), start=1):  # JSON strings may hold other line breaks
                if entry.strip():
                    yield line, self._parse_json(line, entry)
            return
        reader = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
        try:
            yield from self._table_rows(reader)
        except csv.Error as error:
            raise self._refusal(reader.reader.line_num + 1, f"is no row of a table ({error})") from None

    def _table_rows(self, reader: csv.DictReader) -> Iterator[tuple[int, dict[str, str]]]:
        if not set(PATH_COLUMNS) & set(reader.fieldnames or ()):
            problem = f"has no column {' or '.join(PATH_COLUMNS)} among {str(reader.fieldnames or [])[:200]}"
            raise self._refusal(1, problem, "name the columns in the first line, separated by tabs")
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key and value}

    def _parse_json(self, line: int, text: str) -> dict[str, str]:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise self._refusal(line, f"is not JSON ({error})", "write one object a line") from None
        if not isinstance(row, dict):
            raise self._refusal(line, f"is {text[:40]!r}, not an object", 'write {"path": ...}')
        return {str(key): str(value) for key, value in row.items() if value is not None}

    def _clip(self, line: int, row: dict[str, str]) -> Clip:
        path = _first_value(row, PATH_COLUMNS)
        if path is None:
            raise self._refusal(line, "has no path", f"give one of the columns {', '.join(PATH_COLUMNS)}")
        text = _first_value(row, SECONDS_COLUMNS)
        try:
            seconds = None if text is None else float(text)
        except ValueError:
            seconds = math.nan
        if seconds is not None and not math.isfinite(seconds):
            problem = f"has the duration {str(text)[:40]!r}, which is not a number"
            raise self._refusal(line, problem, "give seconds, or leave it empty")
        relative = Path(path).as_posix() if not Path(path).is_absolute() else _relative(Path(path), self.root)
        known = seconds if seconds and seconds > 0 else None
        return Clip(str(self.root / path), clip_id(relative, self.name), known, row.get("speaker"))

    def _refusal(self, line: int, problem: str, remedy: str = "") -> DataError:
        return DataError(f"{self.path}, line {line}", None, problem, remedy)


def _first_value(row: dict[str, str], columns: tuple[str, ...]) -> str | None:
    """The text in the first of `columns` that is not empty."""
    return next((row[column] for column in columns if row.get(column)), None)


def _relative(path: Path, root: Path) -> str:
    """An absolute path without the part that differs between machines: relative to `root`, or its last three parts."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else "/".join(path.parts[-3:])
