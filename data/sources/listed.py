"""Data sets as injected parts: each lists the clips of a corpus, from a folder, a manifest or a download."""

import csv
import io
import json
import math
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

AUDIO_EXTENSIONS = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif")
PATH_COLUMNS = ("path", "audio", "file", "filename")
SECONDS_COLUMNS = ("duration", "seconds")


class Clip(NamedTuple):
    """One recording: its file, an id that does not depend on the machine, and what is known about it."""

    path: str
    id: str
    seconds: float | None = None
    speaker: str | None = None


class AudioSource(ABC):
    """A corpus. A new one implements `clips`; `prepare` too, if there is something to download or to make."""

    def prepare(self) -> None:  # noqa: B027 - most corpora have nothing to prepare
        """Download or make the corpus. Called in one process a machine, before `clips` in any."""

    @abstractmethod
    def clips(self) -> list[Clip]:
        """All clips, in an order that is the same on every machine. Raises ValueError when there are none."""


class FolderSource(AudioSource):
    """Every audio file below a folder; ids are paths relative to it, `name` goes in front of them.

    `extensions` are compared without regard to case. Raises ValueError for a missing or empty folder.
    """

    def __init__(
        self,
        root: str,
        extensions: list[str] | tuple[str, ...] = AUDIO_EXTENSIONS,
        *,
        name: str | None = None,
    ) -> None:
        self.root, self.name = Path(root).expanduser(), name
        self.extensions = tuple(e.lower() if e.startswith(".") else f".{e.lower()}" for e in extensions)

    def clips(self) -> list[Clip]:
        if not self.root.is_dir():
            raise ValueError(f"the folder {self.root} does not exist; give a folder with audio files as `root`")
        ids = sorted(
            path.relative_to(self.root).as_posix()
            for path in self.root.rglob("*")
            if path.suffix.lower() in self.extensions and not path.name.startswith(".")
        )
        if not ids:
            wanted = ", ".join(self.extensions)
            raise ValueError(f"no audio below {self.root}: looked for files ending in {wanted}; set `extensions`?")
        return [Clip(str(self.root / id), _named(self.name, id), speaker=_parent(printable(id))) for id in ids]


class ManifestSource(AudioSource):
    """The clips that a TSV (with a header line) or JSONL manifest lists.

    Columns: `path` (relative to `root`, by default the manifest's folder), and where known `duration` or
    `seconds`, `speaker`, `split`; others are ignored. With `split` set, only the rows of that split count.
    Raises ValueError with the line number for a row that cannot be understood.
    """

    def __init__(
        self, path: str, split: str | None = None, *, root: str | None = None, name: str | None = None
    ) -> None:
        self.path, self.split, self.name = Path(path).expanduser(), split, name
        self.root = Path(root).expanduser() if root else self.path.parent

    def clips(self) -> list[Clip]:
        if not self.path.is_file():
            raise ValueError(f"the manifest {self.path} does not exist; give a .tsv or .jsonl file as `path`")
        rows = list(self._rows())
        splits = sorted({row["split"] for _, row in rows if row.get("split")})
        if self.split is not None and self.split not in splits:
            there = ", ".join(splits)[:200] or "none: it has no `split` column"
            raise ValueError(f"{self.path} has no split {self.split!r}; its splits are: {there}")
        clips = [self._clip(line, row) for line, row in rows if self.split in (None, row.get("split"))]
        if not clips:
            raise ValueError(f"the manifest {self.path} lists no clips")
        if not any(os.path.exists(clip.path) for clip in clips[:100]):
            raise ValueError(
                f"{self.path} lists {clips[0].path[:200]}, which does not exist; set `root` to the audio folder"
            )
        return clips

    def _rows(self) -> Iterator[tuple[int, dict[str, str]]]:
        """(line number, {column: text}) of each row."""
        try:
            text = self.path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.path}: byte {error.start} is not UTF-8 text; save it as UTF-8") from None
        if self.path.suffix.lower() in (".jsonl", ".json"):
            for line, entry in enumerate(text.split("\n"), start=1):  # JSON strings may hold other breaks
                if entry.strip():
                    yield line, self._parse_json(line, entry)
            return
        reader = csv.DictReader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
        try:
            yield from self._table(reader)
        except csv.Error as error:
            raise ValueError(f"{self.path}, line {reader.reader.line_num + 1}: no row of a table ({error})") from None

    def _table(self, reader: csv.DictReader) -> Iterator[tuple[int, dict[str, str]]]:
        if not set(PATH_COLUMNS) & set(reader.fieldnames or ()):
            raise ValueError(
                f"{self.path}, line 1: no column {' or '.join(PATH_COLUMNS)} among "
                f"{str(reader.fieldnames or [])[:200]}; the first line must name the columns, separated by tabs"
            )
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key and value}

    def _parse_json(self, line: int, text: str) -> dict[str, str]:
        try:
            row = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{self.path}, line {line}: not JSON ({error}); write one object a line") from None
        if not isinstance(row, dict):
            raise ValueError(f'{self.path}, line {line}: {text[:40]!r} is not an object like {{"path": ...}}')
        return {str(key): str(value) for key, value in row.items() if value is not None}

    def _clip(self, line: int, row: dict[str, str]) -> Clip:
        where = f"{self.path}, line {line}"
        path = next((row[column] for column in PATH_COLUMNS if row.get(column)), None)
        if path is None:
            raise ValueError(f"{where}: no path; give one of the columns {', '.join(PATH_COLUMNS)}")
        text = next((row[column] for column in SECONDS_COLUMNS if row.get(column)), None)
        try:
            seconds = None if text is None else float(text)
        except ValueError:
            seconds = math.nan
        if seconds is not None and not math.isfinite(seconds):
            raise ValueError(
                f"{where}: the duration {str(text)[:40]!r} is not a number; give seconds, or leave it empty"
            )
        relative = Path(path).as_posix() if not Path(path).is_absolute() else _below(Path(path), self.root)
        known = seconds if seconds and seconds > 0 else None
        return Clip(str(self.root / path), _named(self.name, relative), known, row.get("speaker"))


def as_list(sources: AudioSource | list[AudioSource] | None) -> list[AudioSource]:
    """No, one or several sources as a list."""
    if sources is None:
        return []
    return list(sources) if isinstance(sources, list | tuple) else [sources]


def unique_clips(clips: list[Clip]) -> list[Clip]:
    """The clips; a ValueError when two have the same id."""
    twice = [id for id, count in Counter(clip.id for clip in clips).items() if count > 1]
    if twice:
        raise ValueError(f"{len(twice)} clip ids occur twice, such as {twice[0]!r}; give the sources different `name`s")
    return clips


def spread_clips(clips: list[Clip], count: int | None) -> list[Clip]:
    """`count` clips at even distances in the list."""
    if count is None or count >= len(clips):
        return clips
    return [clips[i * len(clips) // count] for i in range(count)]


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere: bytes that are not UTF-8 as "\\udce9" and the like."""
    return name.encode("utf-8", "backslashreplace").decode()


def _named(name: str | None, id: str) -> str:
    return printable(f"{name}/{id}" if name else id)


def _parent(id: str) -> str | None:
    return id.split("/")[0] if "/" in id else None


def _below(path: Path, root: Path) -> str:
    """The path without the machine's part: relative to the root, or the last three parts elsewhere."""
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else "/".join(path.parts[-3:])
