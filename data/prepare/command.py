"""The command line of `python -m data.prepare`."""

import argparse
import errno
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from data.errors import DataError
from data.prepare.packing import BAD_FILES, pack
from data.prepare.recipe import FLAC, OPUS, OPUS_RATES, Recipe
from data.shards.source import MANIFEST
from data.sources.base import AudioSource, printable
from data.sources.folder import FolderSource
from data.sources.manifest import ManifestSource

ENCODINGS = {"as-is": None, "flac": FLAC, "opus": OPUS}
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2 for a mistake, 1 for a full disk, with a sentence on stderr."""
    options = _parser().parse_args(arguments)
    try:
        if options.workers < 1:
            raise DataError("--workers", options.workers, "must be at least 1")
        packed = pack(
            _source(options.source, options.split),
            options.out,
            recipe=_recipe(options.format, options.sample_rate),
            shard_bytes=_bytes(options.shard_size),
            workers=options.workers,
            progress=True,
        )
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        problem = f"the disk of {options.out} is full: make room" if full else f"{error}: correct that"
        print(f"error: {problem} and run the same command again, which continues from here.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: run the same command again, which continues from here.", file=sys.stderr)
        return 130
    print(f"{packed.clips} clips, {packed.seconds / 3600:.2f} h, in {packed.shards} shards: {options.out / MANIFEST}")
    for path, reason in packed.bad.items():
        print(f"left out: {printable(path)}: {reason}")
    if packed.bad:
        print(f"{len(packed.bad)} files left out, also listed in {options.out / BAD_FILES}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.prepare", description="Pack audio files into tar shards.")
    parser.add_argument("source", type=Path, help="a folder of audio files, or a .tsv or .jsonl manifest")
    parser.add_argument("out", type=Path, help="the folder to make; after an interruption, run again to continue")
    parser.add_argument("--split", help="only this split of the manifest")
    parser.add_argument("--shard-size", default="250M", help="bytes of source files in a shard (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="threads (default: all cores)")
    parser.add_argument("--sample-rate", type=int, help="resample to this rate in Hz; needs --format flac or opus")
    parser.add_argument(
        "--format",
        choices=ENCODINGS,
        default="as-is",
        help="as-is copies the files (default); flac and opus are mono",
    )
    return parser


def _source(path: Path, split: str | None) -> AudioSource:
    if path.is_file():
        return ManifestSource(str(path), split)
    if split is not None:
        problem = f"needs a manifest, and {path} is not a file"
        raise DataError("--split", split, problem, "leave it out, or give a manifest")
    return FolderSource(str(path))


def _recipe(format: str, sample_rate: int | None) -> Recipe:
    if sample_rate is not None and sample_rate < 1:
        raise DataError("--sample-rate", sample_rate, "must be at least 1 Hz")
    encoding = ENCODINGS[format]
    if encoding is None and sample_rate is not None:
        raise DataError(
            "--sample-rate", sample_rate, "cannot go with --format as-is, which copies", "use --format flac"
        )
    if encoding is OPUS and sample_rate not in OPUS_RATES:
        rates = ", ".join(map(str, OPUS_RATES))
        raise DataError("--format opus", allowed="needs a --sample-rate of Opus", remedy=f"give one of {rates}")
    return Recipe(encoding, sample_rate)


def _bytes(text: str) -> int:
    """The number of bytes in a text such as "250M". Raises DataError for anything else."""
    found = re.fullmatch(r"(\d+)([KMG]?)B?", text.upper())
    if not found or not int(found[1]):
        raise DataError("--shard-size", repr(text), "is not a size", "give bytes such as 250000000, or 250M, or 1G")
    return int(found[1]) * UNITS[found[2]]
