"""The unit of work: one shard and its record, made the same way by any engine, on any machine, at any attempt."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

from data.prepare.plan import Task
from data.shards.writer import Entry, Filtered, Shard, write_shard
from data.sources.base import Clip


class Job(Protocol):
    """What is made of each clip. Engines pickle it to send it to other processes."""

    @property
    def extension(self) -> str | None:
        """What names in the shards end in, in place of the ids' own; None keeps those."""

    def description(self) -> dict[str, Any]:
        """What the result depends on, apart from the clips; it is kept in corpus.json."""

    def entries(self, name: str, clip: Clip) -> Iterable[Entry | Filtered]:
        """The files that a shard gets of `clip`, under `name`. Raises AudioReadError if it cannot be read."""


def shard_path(out: Path, number: int) -> Path:
    """The tar file of a shard; its record has the same name with .json."""
    return out / f"shard-{number:05}.tar"


def finished(out: Path, number: int) -> Shard | None:
    """The record of a shard that is complete, with its tar file; None for any other."""
    path = shard_path(out, number)
    record = path.with_suffix(".json")
    if not record.is_file():
        return None
    shard = Shard.read(record)
    complete = not shard.rows or (path.is_file() and path.stat().st_size == shard.bytes)
    return shard if complete else None


def make(task: Task, job: Job, out: Path, *, advance: Callable[[], None] = lambda: None) -> None:
    """Write a shard, then its record. `advance` is called before each clip."""
    path = shard_path(out, task.number)
    write_shard(path, task.clips, job.entries, advance=advance).write(path.with_suffix(".json"))
