"""A corpus that is a folder of Hugging Face's datasets: Arrow files of `save_to_disk`, or Parquet files."""

import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from data.errors import DataError
from data.sources.base import AudioSource, Clip, clip_id
from data.sources.columns.cache import listed
from data.sources.lists.arrow import Row, Table, fact, open_table, rows_of
from data.sources.lists.fields import ID_COLUMNS, SECONDS_COLUMNS, SPEAKER_COLUMNS, SPLIT_COLUMNS, TEXT_COLUMNS

DATASET, SPLITS, STATE = "dataset_info.json", "dataset_dict.json", "state.json"  # files of `datasets`
SUFFIXES = (".arrow", ".parquet")
SPLIT_NAMES = {"train", "validation", "valid", "val", "dev", "test", "eval", "other", "unsupervised"}
NUMBERED = re.compile(r"(.+?)-\d{4,6}-of-\d{4,6}(?:-[0-9a-f]+)?")  # "train-00000-of-00003"


class _Part(NamedTuple):
    """A file of a data set, the split that it belongs to where known, and what the ids of its clips begin with."""

    file: Path
    split: str | None
    prefix: str


class HuggingFaceSource(AudioSource):
    """The rows of a data set of Hugging Face that is on this machine; its audio is read from its files.

    A folder that `save_to_disk` has made (one data set, or several splits), a folder with Parquet files, such as a
    download of a repository, or one .arrow or .parquet file. The audio is a column of {bytes, path}, of bytes, or of
    paths. Columns for the speaker (`speaker_id`, `client_id`), the length (`duration`), the split and what is said
    (`text`, `sentence`, `transcription`) count, by the names that `ManifestSource` knows.

    Arrow files are mapped, so that a clip costs what it costs in a shard. A clip in a Parquet file costs a row group:
    to draw crops at random from a large data set, pack it with `data.prepare` first.

    Ids are the rows' own (`id`) where they differ, else the names of their files where those differ, else the rows'
    numbers; each after its split.

    Args:
        path: the folder, or one file.
        split: only this split, such as "train"; None for all.
        column: with the audio; None for the only one, or "audio".
        name: of the corpus, in front of the ids.
        text: the column of what is said; None for the first of the usual names that is not empty. Training does not
            read it.

    Raises:
        DataError: `clips` cannot use the data set, or pyarrow is not installed.
    """

    def __init__(
        self,
        path: str,
        split: str | None = None,
        *,
        column: str | None = None,
        name: str | None = None,
        text: str | None = None,
    ) -> None:
        self.path, self.split, self.column, self.name = Path(path).expanduser(), split, column, name
        self.text = text

    def clips(self) -> Sequence[Clip]:
        return listed(self.iter_clips())

    def iter_clips(self) -> Iterator[Clip]:
        """The clips one by one, in bounded memory. Raises DataError, at the latest after the last one."""
        parts = list(self._parts())
        splits = {part.split for part in parts if part.split}
        chosen = [part for part in parts if self.split is None or part.split in (self.split, None)]
        count = 0
        for prefix in dict.fromkeys(part.prefix for part in chosen):
            files = [part for part in chosen if part.prefix == prefix]
            tables = [(part, open_table(part.file, self.column, self._text_columns)) for part in files]
            for clip in self._clips(prefix, tables, splits):
                count += 1
                yield clip
        if not count and self.split is not None:
            remedy = f"choose from {', '.join(sorted(splits))[:200]}" if splits else "leave `split` out"
            raise DataError("the data set", self.path, f"has no split {self.split!r}", remedy)
        if not count:
            raise DataError("the data set", self.path, "has no rows", "correct `path`")

    @property
    def _text_columns(self) -> tuple[str, ...]:
        """The columns to look for what is said in; none where it is not to be read."""
        named = TEXT_COLUMNS if self.text is None else (self.text,)
        return named if self.reads_text else ()

    def _clips(self, prefix: str, tables: list[tuple[_Part, Table]], splits: set[str]) -> Iterator[Clip]:
        names = next((names for names in (_own_id, _file_name) if _all_differ(names, tables)), None)
        number = -1
        for part, table in tables:
            for row in rows_of(table):
                number += 1
                split = part.split or fact(row, SPLIT_COLUMNS)
                if split:
                    splits.add(split)
                if self.split not in (None, split):
                    continue
                id = f"{prefix}{(names and names(row)) or f'{number:08}'}"
                yield self._clip(table, row, id)

    def _clip(self, table: Table, row: Row, id: str) -> Clip:
        try:
            seconds = float(fact(row, SECONDS_COLUMNS) or 0)
        except ValueError:
            seconds = 0.0
        if row.place is None and row.path:
            path = os.path.join(table.file.parent, row.path)
        else:  # a row without audio is one of no bytes, which its reading names
            path = table.member(row._replace(place=row.place or (0, 0)), PurePosixPath(id).name.replace("#", "_"))
        known = seconds if 0 < seconds < float("inf") else None
        said = (fact(row, self._text_columns) or "").strip() or None
        return Clip(path, clip_id(id, self.name), known, fact(row, SPEAKER_COLUMNS), text=said)

    def _parts(self) -> Iterator[_Part]:
        if self.path.is_file():
            if self.path.suffix not in SUFFIXES:
                raise DataError("the file", self.path, "is no .arrow or .parquet file", "correct `path`")
            yield _named_part(self.path, self.path.parent)
        elif (self.path / SPLITS).is_file():
            for split in _read_json(self.path / SPLITS).get("splits", []):
                yield from _saved_parts(self.path / split, str(split))
        elif (self.path / STATE).is_file():
            yield from _saved_parts(self.path, None)
        elif self.path.is_dir():
            files = sorted(path for suffix in SUFFIXES for path in self.path.rglob(f"*{suffix}"))
            found = [path for path in files if not _is_left_behind(path.relative_to(self.path))]
            if not found:
                problem = "holds no data set: no .arrow or .parquet file is below it"
                raise DataError("the folder", self.path, problem, "give a folder of `save_to_disk` or of Parquet files")
            yield from (_named_part(path, self.path) for path in found)
        else:
            raise DataError("the data set", self.path, "does not exist", "give a folder or a file as `path`")


def is_huggingface(folder: Path) -> bool:
    """Whether a folder holds a data set that `HuggingFaceSource` reads."""
    if any((folder / name).is_file() for name in (SPLITS, STATE)):
        return True
    return any(folder.glob("*.parquet")) or any(folder.glob("data/*.parquet")) or any(folder.glob("*.arrow"))


def _is_left_behind(file: Path) -> bool:
    """Whether a file is hidden, or one of the caches that `datasets` leaves beside a data set."""
    return file.name.startswith(("cache-", "tmp")) or any(part.startswith(".") for part in file.parts)


def _saved_parts(folder: Path, split: str | None) -> Iterator[_Part]:
    """The files of a data set that `save_to_disk` has written."""
    state = _read_json(folder / STATE)
    if state.get("_indices_data_files") or state.get("_indices_files"):
        problem = "chooses rows by a list of numbers"
        raise DataError("the data set", folder, problem, "write it again with `flatten_indices` and `save_to_disk`")
    own = state.get("_split")
    for entry in state.get("_data_files", []):
        yield _Part(folder / entry["filename"], split or own, f"{split}/" if split else "")


def _named_part(file: Path, root: Path) -> _Part:
    """A file whose split its name tells, or else its folder's."""
    folders = [part for part in file.relative_to(root).parent.parts if part not in ("data", "default")]
    numbered = NUMBERED.fullmatch(file.stem)
    split = numbered[1] if numbered else file.stem
    if not numbered and split not in SPLIT_NAMES:
        split = folders[-1] if folders and folders[-1] in SPLIT_NAMES else ""
    if file.suffix == ".arrow" and "-" in split:  # after the name of the data set
        split = split.rpartition("-")[2]
    place = folders if not split or (folders and folders[-1] == split) else [*folders, split]
    return _Part(file, split or None, "".join(f"{part}/" for part in place))


def _read_json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    except (OSError, ValueError):
        pass
    raise DataError("the file", file, "is no JSON object", "write the data set again with `save_to_disk`")


def _own_id(row: Row) -> str | None:
    return _usable(fact(row, ID_COLUMNS))


def _file_name(row: Row) -> str | None:
    return _usable(row.path)


def _usable(text: str | None) -> str | None:
    """A text as the name of a clip: a relative path; of an absolute path the last three parts."""
    parts = [part for part in PurePosixPath(text or "").parts if part not in ("/", "..")]
    return "/".join(parts[-3:] if text and text.startswith("/") else parts) or None


def _all_differ(names: Any, tables: list[tuple[_Part, Table]]) -> bool:
    """Whether all rows have a name and no two the same one. Holds 8 bytes a row."""
    hashes = []
    for _, table in tables:
        for row in rows_of(table):
            name = names(row)
            if name is None:
                return False
            hashes.append(hash(name))
    return len(np.unique(np.array(hashes, np.int64))) == len(hashes)
