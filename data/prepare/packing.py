"""Packing a corpus: the plan, the shards that are missing, and the manifest of all."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from data.errors import DataError
from data.prepare.engines import Engine, LocalPool
from data.prepare.jobs import Job, finished, shard_path
from data.prepare.plan import Plan
from data.prepare.recipe import Recipe
from data.shards.source import HEADER, MANIFEST
from data.shards.writer import Shard, write_lines, write_text
from data.sources.base import AudioSource, unique_clips

DEFAULT_SHARD_BYTES = 250 * 10**6
BAD_FILES = "bad_files.tsv"


class Packed(NamedTuple):
    """A packed corpus: number of clips, seconds and shards, and {path: reason} of the files left out."""

    clips: int
    seconds: float
    shards: int
    bad: dict[str, str]


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
    on `engine` (but an Opus stream has a random serial number).

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
    _claim(out, json.dumps(description, indent=1))
    with tqdm(total=plan.total, unit="clip", disable=not progress) as bar:
        missing = [number for number in range(len(plan)) if finished(out, number) is None]
        bar.update(plan.total - sum(map(plan.count, missing)))
        (engine or LocalPool(workers)).run(map(plan.task, missing), job, out, advance=bar.update)
    return _collect(out, len(plan))


def _claim(out: Path, description: str) -> None:
    """Make `out` the folder of this corpus. Raises DataError when it holds another corpus, or anything else."""
    claim = out / "corpus.json"
    if claim.is_file():
        if claim.read_text(encoding="utf-8") != description:
            problem = "holds another corpus, from other files or options"
            raise DataError("the folder", out, problem, "give another folder, or delete it first")
        return
    if out.is_dir() and any(entry.name != f".{claim.name}.tmp" for entry in out.iterdir()):
        raise DataError("the folder", out, "holds other files", "give a new or empty folder")
    if out.exists() and not out.is_dir():
        raise DataError("OUT", out, "is a file", "give a new or empty folder")
    out.mkdir(parents=True, exist_ok=True)
    write_text(claim, description)


def _collect(out: Path, shards: int) -> Packed:
    """Write the lists of all clips and of the bad files from the shards' records, which are read one at a time."""
    bad: dict[str, str] = {}
    total = Packed(0, 0.0, 0, bad)

    def lines() -> Iterator[str]:
        nonlocal total
        yield HEADER
        for number in range(shards):
            shard = Shard.read(shard_path(out, number).with_suffix(".json"))
            bad.update(shard.bad)
            total = total._replace(
                clips=total.clips + len(shard.rows),
                seconds=total.seconds + sum(row.seconds for row in shard.rows),
                shards=total.shards + bool(shard.rows),
            )
            yield from (row.line() for row in shard.rows)
        if bad:
            write_text(out / BAD_FILES, "path\treason\n" + "".join(f"{p}\t{bad[p]}\n" for p in bad))
        if not total.clips:
            raise DataError(f"none of the {len(bad)} files can be read", remedy=f"{out / BAD_FILES} lists why")

    write_lines(out / MANIFEST, lines())
    return total
