"""What the command lines of `data.prepare` and `data.features` have in common: source, engine, and one sentence."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

from data.errors import DataError, check_number, counted
from data.prepare.engines.base import Engine
from data.prepare.engines.local import LocalPool
from data.prepare.engines.ray_data import RayCluster
from data.prepare.packing import BAD_FILES, CORPUS, FILTERED, Packed
from data.shards.source import MANIFEST, ShardSource
from data.sources.base import AudioSource, printable
from data.sources.recognised import source_at

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def add_corpus_options(parser: argparse.ArgumentParser) -> None:
    """Arguments for the source, the folder to make and the size of shards."""
    parser.add_argument(
        "source", type=Path, help="a folder of audio files or of shards, a list of files, or a data set"
    )
    parser.add_argument("out", type=Path, help="the folder to make; after an interruption, run again to continue")
    parser.add_argument("--split", help="only this split of the list or data set")
    parser.add_argument("--shard-size", default="250M", help="bytes of source files in a shard (default: %(default)s)")


def add_engine_options(parser: argparse.ArgumentParser) -> None:
    """Arguments for where the shards are made; they do not change the result."""
    engine = parser.add_argument_group("engine", "where the shards are made; the result does not depend on it")
    engine.add_argument("--engine", choices=("local", "ray"), default="local", help="default: threads of this process")
    engine.add_argument("--workers", type=int, help="shards made at a time (default: all cores; all of the cluster)")
    engine.add_argument(
        "--address", help="of a running Ray cluster, such as 10.0.0.1:6379 or auto (default: one on this machine)"
    )


def add_length_options(parser: argparse._ActionsContainer) -> None:
    """Arguments for the lengths that are kept."""
    parser.add_argument("--min-seconds", type=float, metavar="S", help="leave out what is shorter")
    parser.add_argument("--max-seconds", type=float, metavar="S", help="leave out what is longer")


def find_source(path: Path, split: str | None) -> AudioSource:
    """The corpus at `path`: a folder of shards, or what `source_at` recognises."""
    if split is None and (path / MANIFEST).is_file() and (path / CORPUS).is_file():
        return ShardSource(str(path))
    return source_at(path, split)


def choose_engine(options: argparse.Namespace, *, gpus: float = 0) -> Engine:
    """The engine that the options name, with `gpus` for each worker of a cluster."""
    check_number("--workers", options.workers, least=1)
    if options.engine == "ray":
        return RayCluster(options.address, options.workers, gpus=gpus)
    if options.address is not None:
        raise DataError("--address", options.address, "is that of a Ray cluster", "add --engine ray, or leave it out")
    return LocalPool(options.workers or os.cpu_count() or 1)


def parse_bytes(text: str) -> int:
    """The number of bytes in a text such as "250M". Raises DataError for anything else."""
    found = re.fullmatch(r"(\d+)([KMG]?)B?", text.upper())
    if not found or not int(found[1]):
        raise DataError("--shard-size", repr(text), "is not a size", "give bytes such as 250000000, or 250M, or 1G")
    return int(found[1]) * UNITS[found[2]]


def report(run: Callable[[], Packed], out: Path) -> int:
    """Run, and say what came of it. Returns the exit status: 2 for a mistake, 1 where running again continues."""
    try:
        packed = run()
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = f"the disk of {out} is full: make room" if full else f"{error}: correct that"
        print(f"error: {problem} and run the same command again, which continues from here.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again, which continues from here.", file=sys.stderr)
        return 130
    clips, shards = counted(packed.clips, "clip"), counted(packed.shards, "shard")
    print(f"{clips}, {packed.seconds / 3600:.2f} h, in {shards}: {out / MANIFEST}")
    for path, reason in packed.bad.items():
        print(f"left out: {printable(path)}: {reason}")
    if packed.bad:
        print(f"{counted(len(packed.bad), 'file')} left out, also listed in {out / BAD_FILES}")
    if packed.filtered:
        counts = ", ".join(f"{count} {reason}" for reason, count in sorted(packed.filtered.items()))
        print(f"{counted(sum(packed.filtered.values()), 'clip')} filtered out ({counts}), listed in {out / FILTERED}")
    return 0
