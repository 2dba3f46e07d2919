"""Packing a corpus: the plan, the shards that are missing, and the manifest of all."""

import errno
import fcntl
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from data.errors import DataError, counted
from data.prepare.engines.base import Engine
from data.prepare.engines.local import LocalPool
from data.prepare.jobs import Job, finished, shard_path
from data.prepare.plan import Plan
from data.prepare.recipes.recipe import Recipe
from data.shards.source import HEADER, MANIFEST, TEXTS, TEXTS_HEADER
from data.shards.writer import Filtered, Shard, write_lines, write_text
from data.sources.base import AudioSource, unique_clips

DEFAULT_SHARD_BYTES = 250 * 10**6
CORPUS, BAD_FILES, FILTERED = "corpus.json", "bad_files.tsv", "filtered.tsv"
LEFTOVERS = (".shard-*", ".tasks-*", f".{MANIFEST}.*", f".{TEXTS}.*")


class Packed(NamedTuple):
    """A packed corpus.

    Attributes:
        clips: how many.
        seconds: of all clips.
        shards: how many.
        bad: {path: reason} of the files that cannot be read.
        filtered: {reason: number} of the clips left out on purpose.
    """

    clips: int
    seconds: float
    shards: int
    bad: dict[str, str]
    filtered: dict[str, int]


def pack(
    source: AudioSource,
    out: Path,
    *,
    recipe: Job | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    workers: int = 1,
    engine: Engine | None = None,
    progress: bool = False,
) -> Packed:
    """Pack the clips of `source`, in their order, into shards of about `shard_bytes` bytes of their files.

    Shards that an interrupted call has finished are kept. The result does not depend on interruptions, on `workers` or
    on `engine`.

    Args:
        source: the corpus.
        out: folder to make, or to continue.
        recipe: what is made of each clip; by default the files are copied.
        shard_bytes: of the clips' files, not of what is made of them.
        workers: threads of the default engine.
        engine: where the shards are made; `LocalPool(workers)` by default.
        progress: show a bar.

    Raises:
        DataError: the source has no usable clip, or `out` holds something else.
        OSError: the disk is full.
    """
    job = recipe or Recipe()
    plan = Plan(unique_clips(source.clips()), job.extension, shard_bytes=shard_bytes)
    description = {**job.description(), "shard_bytes": shard_bytes, "clips": plan.fingerprint()}
    try:
        claim = _claim(out, json.dumps(description, indent=1))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        remedy = "give a folder that you may write to"
        raise DataError("OUT", out, f"cannot be written ({error.strerror})", remedy) from None
    with _locked(claim), tqdm(total=plan.total, unit="clip", disable=not progress) as bar:
        _remove_leftovers(out)
        missing = [number for number in range(len(plan)) if finished(out, number) is None]
        bar.update(plan.total - sum(map(plan.count, missing)))
        (engine or LocalPool(workers)).run(map(plan.task, missing), job, out, advance=bar.update)
        packed = _collect(out, len(plan))
        _write_texts(out, plan)
        _remove_leftovers(out)
    return packed


def _claim(out: Path, description: str) -> Path:
    """Make `out` the folder of this corpus. Raises DataError when it holds another corpus, or anything else."""
    claim = out / CORPUS
    if claim.is_file():
        if claim.read_text(encoding="utf-8") != description:
            problem = "holds another corpus, from other files or options"
            raise DataError("the folder", out, problem, "give another folder, or delete it first")
        return claim
    if out.is_dir() and not all(re.fullmatch(rf"\.{CORPUS}\..*tmp", entry.name) for entry in out.iterdir()):
        raise DataError("the folder", out, "holds other files", "give a new or empty folder")
    if out.exists() and not out.is_dir():
        raise DataError("OUT", out, "is a file", "give a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(claim, description)
    return claim


@contextmanager
def _locked(claim: Path) -> Iterator[None]:
    """Keep a second run out of the folder. Raises DataError in it. A process that has died holds no lock."""
    with open(claim, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            problem = "is being written by another run"
            raise DataError("the folder", claim.parent, problem, "wait for it, or stop it") from None
        except OSError:
            pass  # a file system without locks
        yield


def _remove_leftovers(out: Path) -> None:
    """Remove what workers that were killed have left half-written."""
    for pattern in LEFTOVERS:
        for path in out.glob(pattern):
            path.unlink(missing_ok=True)


def _collect(out: Path, shards: int) -> Packed:
    """Write the lists of all clips, of the bad files and of what is filtered out, one shard's record at a time."""
    bad: dict[str, str] = {}
    filtered: Counter[str] = Counter()
    total = Packed(0, 0.0, 0, bad, filtered)

    def records() -> Iterator[Shard]:
        return (Shard.read(shard_path(out, number).with_suffix(".json")) for number in range(shards))

    def rows() -> Iterator[str]:
        nonlocal total
        yield HEADER
        for shard in records():
            bad.update(shard.bad)
            filtered.update(row.reason for row in shard.filtered)
            total = total._replace(
                clips=total.clips + len(shard.rows),
                seconds=total.seconds + sum(row.seconds for row in shard.rows),
                shards=total.shards + bool(shard.rows),
            )
            yield from (row.line() for row in shard.rows)
        _write_left_out()

    def _write_left_out() -> None:
        if bad:
            write_lines(out / BAD_FILES, ["path\treason\n", *map(_line, bad.items())])
        if filtered:
            header = "\t".join(Filtered._fields) + "\n"
            lines = (_line(row) for shard in records() for row in shard.filtered)
            write_lines(out / FILTERED, itertools.chain([header], lines))
        if not total.clips:
            raise _nothing_left(out, len(bad), sum(filtered.values()))

    write_lines(out / MANIFEST, rows())
    return total


def _write_texts(out: Path, plan: Plan) -> None:
    """Write what is said in the packed clips where it is known; pieces of a clip have no text."""

    def rows() -> Iterator[str]:
        for number in range(len(plan)):
            said = {name: clip.text for name, clip in plan.task(number).clips if clip.text}
            for row in Shard.read(shard_path(out, number).with_suffix(".json")).rows if said else ():
                if row.path in said:
                    yield f"{row.path}\t{' '.join(said[row.path].split())}\n"

    texts = rows()
    first = next(texts, None)
    if first is None:
        (out / TEXTS).unlink(missing_ok=True)
    else:
        write_lines(out / TEXTS, itertools.chain([TEXTS_HEADER, first], texts))


def _line(fields: Iterable[object]) -> str:
    """A row of a table; tabs and line ends in a field, as in the names of some files, are escaped."""
    return "\t".join(re.sub(r"[\t\r\n]", lambda found: repr(found[0])[1:-1], str(field)) for field in fields) + "\n"


def _nothing_left(out: Path, bad: int, filtered: int) -> DataError:
    if not filtered:
        problem = f"none of the {bad} files can be read" if bad > 1 else "the one file cannot be read"
        return DataError(problem, remedy=f"{out / BAD_FILES} lists why")
    problem = f"no clip is left: {counted(bad, 'file')} cannot be read, {counted(filtered, 'clip')} filtered out"
    return DataError(problem, remedy=f"{out / FILTERED} lists why")
