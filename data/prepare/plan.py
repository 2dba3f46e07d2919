"""Which clips go into which shard, under which names: a function of the corpus and the options alone."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import PurePosixPath
from typing import NamedTuple

import numpy as np

from data.audio.members import member_size
from data.sources.base import Clip
from data.sources.tree import MEDIA_SUFFIXES

STAT_THREADS = 16  # a shared file system answers many requests at once
STAT_CLIPS = 4096
CUT_CLIPS = 1 << 16
# Of an id with an extension that needs no change:
SIMPLE = re.compile(r"(?:[\w\- ][\w\- .]*/)*[\w\- ][\w\- .]*\.[\w\- ]+")


class Task(NamedTuple):
    """The clips of one shard, each after its name there, and the bytes of their files (0 where there is none)."""

    number: int
    clips: list[tuple[str, Clip]]
    sizes: list[int]


class Plan:
    """Clips in order, cut into shards where their files reach `shard_bytes`.

    Holds 8 bytes for each clip, and some 80 while it is made, whatever `clips` holds of it: lists of many millions can
    be planned.

    Args:
        clips: of the corpus, with ids that occur once.
        extension: what names in the shards end in, in place of the ids' own; None keeps those.
        shard_bytes: of the files of a shard.
    """

    def __init__(self, clips: Sequence[Clip], extension: str | None, *, shard_bytes: int) -> None:
        self._clips, self._extension = clips, extension
        self._renamed = _renamed(self)
        self._sizes = _file_sizes(clips)
        self._starts = self._cut(self._sizes // _sharers(clips), shard_bytes)

    def __len__(self) -> int:
        """The number of shards."""
        return len(self._starts) - 1

    @property
    def total(self) -> int:
        """The number of clips."""
        return len(self._clips)

    def clip(self, place: int) -> Clip:
        """The clip number `place` of the corpus."""
        return self._clips[place]

    def count(self, number: int) -> int:
        """The number of clips of shard `number`."""
        return self._starts[number + 1] - self._starts[number]

    def task(self, number: int) -> Task:
        """What shard `number` is made from."""
        places = range(self._starts[number], self._starts[number + 1])
        named = [(self.name(place), self._clips[place]) for place in places]
        return Task(number, named, self._sizes[places.start : places.stop].tolist())

    def tasks(self) -> Iterator[Task]:
        """All tasks in order."""
        return (self.task(number) for number in range(len(self)))

    def name(self, place: int) -> str:
        """The name of clip `place` in its shard."""
        return self._renamed.get(place) or self.wanted(place)

    def wanted(self, place: int) -> str:
        """The name of clip `place` if no clip before it has that: without control characters or a way out."""
        return _wanted(self._clips[place].id, self._extension)

    def fingerprint(self) -> str:
        """SHA-256 of ids, sizes, lengths, speakers and segments of the clips, not of where their files are."""
        digest = hashlib.sha256(b"[")
        for number, task in enumerate(self.tasks()):
            known = [_known(name, clip, size) for (name, clip), size in zip(task.clips, task.sizes, strict=True)]
            digest.update(b", " * bool(number) + json.dumps(known).encode())
        digest.update(b"]")
        return digest.hexdigest()

    @staticmethod
    def _cut(sizes: np.ndarray, shard_bytes: int) -> list[int]:
        """The place of each shard's first clip, and the number of clips."""
        starts, total = [0], 0
        for first in range(0, len(sizes), CUT_CLIPS):
            for place, size in enumerate(sizes[first : first + CUT_CLIPS].tolist(), start=first):
                if place > starts[-1] and total + size > shard_bytes:
                    starts.append(place)
                    total = 0
                total += size
        return [*starts, len(sizes)]


def _known(name: str, clip: Clip, size: int) -> tuple:
    segment = () if clip.start is None else (clip.start,)
    return (name, clip.id, clip.seconds, clip.speaker, size, *segment)


def _wanted(id: str, extension: str | None) -> str:
    if SIMPLE.fullmatch(id):  # nearly all: the same as below, in a tenth of the time
        return id if extension is None else _ending_in(id, extension)
    path = str(_plain(id))
    return path if extension is None else _ending_in(path, extension)


def _ending_in(name: str, extension: str) -> str:
    """The name with `extension` in place of that of an audio file, else after it: "ann-1.5" has no extension."""
    stem, ending = os.path.splitext(name)
    return f"{stem if ending.lower() in MEDIA_SUFFIXES else name}{extension}"


def _plain(id: str) -> PurePosixPath:
    text = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", id)
    return PurePosixPath(*(part for part in PurePosixPath(text).parts if part not in ("/", "..")))


def _renamed(plan: Plan) -> dict[int, str]:
    """{place: name} of the clips whose wanted name is that of a clip before them.

    Only clips whose wanted names have a hash in common are compared by name, so that no set of all names is held.
    """
    hashes = np.fromiter((_hash(plan.wanted(place)) for place in range(plan.total)), np.uint64, plan.total)
    ordered = np.sort(hashes)
    contested = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    while contested:
        places = np.flatnonzero(np.isin(hashes, np.array(list(contested), np.uint64)))
        renamed = _resolve(plan, places.tolist())
        given = np.array([_hash(name) for name in renamed.values()], np.uint64)
        also_wanted = set(given[np.isin(given, ordered)].tolist()) - contested
        if not also_wanted:
            return renamed
        contested |= also_wanted
    return {}


def _resolve(plan: Plan, places: Sequence[int]) -> dict[int, str]:
    """{place: new name} when the clips at `places` take names in their order."""
    taken: set[str] = set()
    renamed: dict[int, str] = {}
    for place in places:
        path, wanted = _plain(plan.clip(place).id), PurePosixPath(plan.wanted(place))
        while str(wanted) in taken:
            wanted = path = path.with_name(f"{path.name}_{wanted.suffix}")
            renamed[place] = str(wanted)
        taken.add(str(wanted))
    return renamed


def _hash(name: str) -> int:
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def _file_sizes(clips: Sequence[Clip]) -> np.ndarray:
    """Bytes of the file of each clip, int64 [number of clips]; 0 where there is no file."""
    sizes = np.zeros(len(clips), np.int64)

    def fill(start: int) -> None:
        for place in range(start, min(start + STAT_CLIPS, len(clips))):
            sizes[place] = file_size(clips[place].path)

    with ThreadPoolExecutor(STAT_THREADS) as pool:
        list(pool.map(fill, range(0, len(clips), STAT_CLIPS)))
    return sizes


def _sharers(clips: Sequence[Clip]) -> np.ndarray:
    """The number of clips with the same file as each clip, int64 [number of clips]: segments share its bytes."""
    paths = np.fromiter((_hash(clip.path) for clip in clips), np.uint64, len(clips))
    _, place, counts = np.unique(paths, return_inverse=True, return_counts=True)
    return counts[place]


def file_size(path: str) -> int:
    """Bytes of a file, or of a clip in a shard; 0 where there is no file."""
    member = member_size(path)
    if member is not None:
        return member
    return os.path.getsize(path) if os.path.isfile(path) else 0
