"""`ClipList`: a sequence of clips whose columns lie in files, and the writer that makes those files."""

import contextlib
import fcntl
import itertools
import json
import math
import os
import weakref
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data.sources.base import Clip, ClipSequence
from data.sources.columns.files import Column, ColumnWriter, fingerprint

VERSION = 1  # raise it when the files change
SUMMARY = "list.json"
CHUNK = 512  # clips written or iterated at once; with more, Python's garbage collector takes longer than the rest
NAMES = 100_000  # speakers to look up while writing; with more, a name may be stored twice
CODING = ("utf-8", "surrogatepass")  # any text of Python, also a file name that is not UTF-8, and back


class UnusableCache(Exception):
    """A folder of columns is not there, not whole, or of another version."""


class ClipList(ClipSequence):
    """Clips in a folder of columns; a clip is made when it is asked for.

    Processes share the columns' memory, and the list is pickled as its folder. While a process has the list, it holds
    a shared lock on the folder, so that no other one takes the list for an old one and removes it.

    Args:
        folder: as `write_clips` has filled it.
        check: compare all files with their checksums (0.1 s for a million clips).

    Raises:
        UnusableCache: The folder does not hold all columns of this version, or `check` finds a damaged one.
    """

    def __init__(self, folder: Path, *, check: bool = True) -> None:
        self.folder = folder
        try:
            hold(self, folder / SUMMARY)
            summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
            if summary["version"] != VERSION:
                raise UnusableCache(f"version {summary['version']}")
            for name, known in summary["files"].items():
                path = folder / name
                if (fingerprint(path) if check else [path.stat().st_size, known[1]]) != known:
                    raise UnusableCache(f"{path} is damaged")
            self._rows, self.unknown_seconds = int(summary["rows"]), int(summary["unknown_seconds"])
            self._path_prefix, self._id_prefix = str(summary["path_prefix"]), str(summary["id_prefix"])
            names = set(summary["files"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UnusableCache(f"{folder}: {error}") from error
        column = {name.removesuffix(".npy"): Column(folder / name) for name in names}
        self.seconds: Column = column["seconds"]
        self._paths, self._path_ends = column["paths"], column["path_ends"]
        self._ids, self._id_ends = column.get("ids"), column.get("id_ends")
        self._speakers, self._names, self._name_ends = column["speakers"], column["names"], column["name_ends"]
        self._starts = column.get("starts")
        self._said, self._said_ends = column.get("texts"), column.get("text_ends")

    def __len__(self) -> int:
        return self._rows

    def clip(self, number: int) -> Clip:
        return next(self._between(number, number + 1))

    def __iter__(self) -> Iterator[Clip]:
        for first in range(0, self._rows, CHUNK):
            yield from self._between(first, min(first + CHUNK, self._rows))

    def extra(self, name: str) -> Column | None:
        """A column that `add_extra` has added; None where there is none, or a damaged one."""
        path = self.folder / f"{name}.npy"
        with contextlib.suppress(OSError, ValueError):
            if json.loads(path.with_suffix(".json").read_text()) == [VERSION, *fingerprint(path)]:
                return Column(path)
        return None

    def add_extra(self, name: str, values: Iterable[np.ndarray]) -> None:
        """Keep a column of float64 beside the others, given piece by piece. Raises OSError."""
        path = self.folder / f"{name}.npy"
        draft = path.with_name(f".{name}-{os.getpid()}.tmp")
        try:
            with ColumnWriter(draft, "<f8") as column:
                for piece in values:
                    column.write(piece)
            known = json.dumps([VERSION, *fingerprint(draft)])
            draft.replace(path)
            path.with_suffix(".json").write_text(known)
        finally:
            draft.unlink(missing_ok=True)

    def known_unique(self) -> bool:
        return self.extra("unique") is not None

    def note_unique(self) -> None:
        with contextlib.suppress(OSError):  # such as a folder of another user
            self.add_extra("unique", [])

    def __eq__(self, other: object) -> bool:
        return self.folder == other.folder if isinstance(other, ClipList) else super().__eq__(other)

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.folder,)

    def stated_seconds(self) -> Column:
        return self.seconds

    def _between(self, first: int, last: int) -> Iterator[Clip]:
        """The clips from number `first` to before `last`."""
        rests = _texts(self._paths, self._path_ends, first, last)
        paths = [rest[1:] if rest[:1] == "\0" else self._path_prefix + rest for rest in rests]
        if self._ids is None or self._id_ends is None:
            ids = [self._id_prefix + rest for rest in rests]
        else:
            stored = _texts(self._ids, self._id_ends, first, last)
            ids = [own[1:] if own else self._id_prefix + rest for own, rest in zip(stored, rests, strict=True)]
        seconds = _numbers(self.seconds[first:last])
        codes = self._speakers[first:last].tolist()
        names = {code: self._name(code) for code in set(codes)}
        starts = itertools.repeat(None) if self._starts is None else _numbers(self._starts[first:last])
        said: Iterable[str | None] = itertools.repeat(None)
        if self._said is not None and self._said_ends is not None:
            said = (text or None for text in _texts(self._said, self._said_ends, first, last))
        return map(Clip, paths, ids, seconds, map(names.__getitem__, codes), starts, said)

    def _name(self, code: int) -> str | None:
        return None if code < 0 else _texts(self._names, self._name_ends, code, code + 1)[0]


def write_clips(folder: Path, clips: Iterable[Clip]) -> None:
    """Fill an empty folder with the columns of `clips`, one chunk of them in memory at a time.

    The summary is written last: a folder without one is not whole. Raises OSError.
    """
    stream = iter(clips)
    with contextlib.ExitStack() as files:
        writer = _Writer(folder, files)
        while chunk := list(itertools.islice(stream, CHUNK)):
            writer.add(chunk)
    writer.finish()


class _Writer:
    """Appends chunks of clips to the columns of a folder.

    A path is stored without the beginning that all paths of the first chunk have in common, and an id not at all where
    it is another beginning before the same rest.
    """

    def __init__(self, folder: Path, files: contextlib.ExitStack) -> None:
        self._folder, self._rows, self._unknown = folder, 0, 0
        self._own_ids = self._segments = self._transcripts = False
        self._path_prefix = self._id_prefix = ""
        self._codes: dict[str | None, int] = {None: -1}
        self._count = 0  # of names
        types = {"paths": "u1", "path_ends": "<i8", "ids": "u1", "id_ends": "<i8", "seconds": "<f8", "starts": "<f8"}
        types |= {"speakers": "<i4", "names": "u1", "name_ends": "<i8", "texts": "u1", "text_ends": "<i8"}
        self._columns = {
            name: files.enter_context(ColumnWriter(folder / f"{name}.npy", kind)) for name, kind in types.items()
        }
        self._ends = {name: 0 for name in ("paths", "ids", "names", "texts")}

    def add(self, chunk: list[Clip]) -> None:
        paths, ids, seconds, speakers, starts, texts = zip(*chunk, strict=True)
        if not self._rows:
            self._path_prefix = _beginning_of_paths(paths, ids[0])
            rest = paths[0][len(self._path_prefix) :]
            self._id_prefix = ids[0].removesuffix(rest) if ids[0].endswith(rest) else ""
        rests, own = self._rests(paths), None
        if [self._id_prefix + rest for rest in rests] != list(ids):
            own = ["" if id == self._id_prefix + rest else "=" + id for id, rest in zip(ids, rests, strict=True)]
            self._own_ids = True
        self._segments |= any(start is not None for start in starts)
        lengths = np.array([math.nan if length is None else length for length in seconds])
        self._unknown += int(np.isnan(lengths).sum())
        self._texts("paths", "path_ends", rests)
        self._texts("ids", "id_ends", own or [""] * len(ids))
        self._columns["seconds"].write(lengths)
        self._columns["starts"].write(np.array([math.nan if start is None else start for start in starts]))
        self._columns["speakers"].write(np.array([self._code(speaker) for speaker in speakers], dtype="<i4"))
        self._transcripts |= any(texts)
        self._texts("texts", "text_ends", [text or "" for text in texts])
        self._rows += len(chunk)

    def finish(self) -> None:
        """Remove columns that hold nothing, and write the summary."""
        if not self._own_ids:
            self._drop("ids", "id_ends")
        if not self._segments:
            self._drop("starts")
        if not self._transcripts:
            self._drop("texts", "text_ends")
        summary = {
            "version": VERSION,
            "rows": self._rows,
            "unknown_seconds": self._unknown,
            "path_prefix": self._path_prefix,
            "id_prefix": self._id_prefix,
            "files": {f"{name}.npy": fingerprint(self._folder / f"{name}.npy") for name in self._columns},
        }
        draft = self._folder / f".{SUMMARY}.tmp"
        draft.write_text(json.dumps(summary, indent=1), encoding="utf-8")
        draft.replace(self._folder / SUMMARY)

    def _rests(self, paths: Sequence[str]) -> list[str]:
        """The paths without the common beginning; one that has another beginning whole, after a mark."""
        prefix, size = self._path_prefix, len(self._path_prefix)
        rests = [path[size:] for path in paths]
        if min(rests)[:1] != "\0" and min(paths).startswith(prefix) and max(paths).startswith(prefix):
            return rests
        mark = "\0"
        return [
            rest if path.startswith(prefix) and rest[:1] != mark else mark + path
            for path, rest in zip(paths, rests, strict=True)
        ]

    def _texts(self, name: str, ends: str, texts: list[str]) -> None:
        coded = [text.encode(*CODING) for text in texts]
        lengths = np.fromiter(map(len, coded), np.int64, len(coded))
        self._columns[ends].write(self._ends[name] + np.cumsum(lengths))
        self._columns[name].write(joined := b"".join(coded))
        self._ends[name] += len(joined)

    def _code(self, speaker: str | None) -> int:
        code = self._codes.get(speaker)
        if code is None:
            if len(self._codes) > NAMES:
                self._codes = {None: -1}
            assert speaker is not None
            code = self._codes[speaker] = self._count
            self._count += 1
            self._texts("names", "name_ends", [speaker])
        return code

    def _drop(self, *names: str) -> None:
        for name in names:
            del self._columns[name]
            (self._folder / f"{name}.npy").unlink()


def _beginning_of_paths(paths: Sequence[str], first_id: str) -> str:
    """What all paths begin with, as far as the folder below which the first id names its file."""
    first, last = min(paths), max(paths)
    common = next((place for place, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    folder, below = (text[: text.rfind("/") + 1] for text in (paths[0], first_id))
    same = 0
    while same < min(len(folder), len(below)) and folder[-1 - same] == below[-1 - same]:
        same += 1
    return paths[0][: min(common, len(folder) - same)]


def _texts(data: Column, ends: Column, first: int, last: int) -> list[str]:
    """The texts from number `first` to before `last`; each goes from the end of the one before to its own."""
    begin = int(ends[first - 1]) if first else 0
    places = (ends[first:last] - begin).tolist()
    block = data[begin : begin + places[-1]].tobytes()
    if block.isascii():
        text = block.decode("ascii")
        return [text[a:b] for a, b in zip([0, *places], places, strict=False)]
    return [block[a:b].decode(*CODING) for a, b in zip([0, *places], places, strict=False)]


def _numbers(column: np.ndarray) -> list[float | None]:
    """The numbers of a column, None for NaN."""
    return [None if number != number else number for number in column.tolist()]


def hold(owner: object, path: Path) -> None:
    """Keep a shared lock on a file for as long as `owner` lives, here and in forks of this process. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY)
    weakref.finalize(owner, os.close, descriptor)
    with contextlib.suppress(OSError):  # a file system without locks
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def _reopened(folder: Path) -> ClipList:
    """The list in another process; the one that sent it has checked it."""
    return ClipList(folder, check=False)
