"""Packs a folder or a manifest of audio files into tar shards: `python -m data.prepare SOURCE OUT`.

The folder OUT gets

- shard-00000.tar and so on, each with a record of its contents (shard-00000.json);
- manifest.tsv, which lists each clip, its length, its place in a shard and its checksum;
- corpus.json, which says what the corpus was made from;
- bad_files.tsv, if there are files that cannot be read.

No file has its final name before it is complete: an interrupted run continues when it is started again.
"""

import argparse
import errno
import hashlib
import json
import os
import re
import sys
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tqdm import tqdm

from data.errors import DataError
from data.shards.source import HEADER, MANIFEST
from data.shards.writer import FLAC, OPUS, OPUS_RATES, Recipe, Shard, write_shard, write_text
from data.sources.base import AudioSource, Clip, printable, unique_clips
from data.sources.folder import FolderSource
from data.sources.manifest import ManifestSource

ENCODINGS = {"as-is": None, "flac": FLAC, "opus": OPUS}
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
DEFAULT_SHARD_BYTES = 250 * 10**6
Batch = list[tuple[str, Clip]]  # the clips of one shard, each after its name there


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
    recipe: Recipe | None = None,
    shard_bytes: int = DEFAULT_SHARD_BYTES,
    workers: int = 1,
    progress: bool = False,
) -> Packed:
    """Pack the clips of `source`, in their order, into shards of about `shard_bytes` bytes of their files.

    Shards that an interrupted call has finished are kept. The result does not depend on interruptions or on `workers`
    (but an Opus stream has a random serial number). Raises DataError when the source has no usable clip or `out` holds
    something else, OSError when the disk is full.
    """
    recipe = recipe or Recipe()
    batches = _plan(unique_clips(source.clips()), recipe, shard_bytes)
    _claim(out, json.dumps({"recipe": recipe, "shard_bytes": shard_bytes, "clips": _fingerprint(batches)}, indent=1))
    shards = _write_all(batches, out, recipe, workers=workers, progress=progress)
    rows = [row for shard in shards for row in shard.rows]
    bad = {path: reason for shard in shards for path, reason in shard.bad.items()}
    if bad:
        write_text(out / "bad_files.tsv", "path\treason\n" + "".join(f"{p}\t{bad[p]}\n" for p in bad))
    if not rows:
        problem = f"none of the {len(bad)} files can be read"
        raise DataError(problem, remedy=f"{out / 'bad_files.tsv'} lists why")
    write_text(out / MANIFEST, HEADER + "".join(row.line() for row in rows))
    return Packed(len(rows), sum(row.seconds for row in rows), sum(bool(shard.rows) for shard in shards), bad)


def _plan(clips: Sequence[Clip], recipe: Recipe, shard_bytes: int) -> list[Batch]:
    """The clips of each shard: clips in order until their files reach `shard_bytes`."""
    batches: list[Batch] = [[]]
    taken: set[str] = set()
    shares = Counter(clip.path for clip in clips)  # the segments of a file share its bytes
    total = 0
    for clip in clips:
        name = _name(clip.id, recipe, taken)
        taken.add(name)
        size = _file_size(clip) // shares[clip.path]
        if batches[-1] and total + size > shard_bytes:
            batches.append([])
            total = 0
        batches[-1].append((name, clip))
        total += size
    return batches


def _name(id: str, recipe: Recipe, taken: set[str]) -> str:
    """A new name for tar files and manifests, without control characters and without a way out of the folder."""
    plain = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "_", id)
    path = PurePosixPath(*(part for part in PurePosixPath(plain).parts if part not in ("/", "..")))
    wanted = path if recipe.encoding is None else path.with_suffix(recipe.encoding.extension)
    while str(wanted) in taken:
        wanted = path = path.with_name(f"{path.name}_{wanted.suffix}")
    return str(wanted)


def _file_size(clip: Clip) -> int:
    return os.path.getsize(clip.path) if os.path.isfile(clip.path) else 0


def _fingerprint(batches: Sequence[Batch]) -> str:
    """SHA-256 of ids, sizes, lengths, speakers and segments of the clips; it does not depend on where the files are."""

    def known_of(name: str, clip: Clip) -> tuple[object, ...]:
        known = name, clip.id, clip.seconds, clip.speaker, _file_size(clip)
        return known if clip.start is None else (*known, clip.start)

    known = [[known_of(name, clip) for name, clip in batch] for batch in batches]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


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


def _write_all(batches: Sequence[Batch], out: Path, recipe: Recipe, *, workers: int, progress: bool) -> list[Shard]:
    """Write the shards that are missing, and return all in order. The first error stops all workers and is raised."""
    stop = threading.Event()
    with tqdm(total=sum(map(len, batches)), unit="clip", disable=not progress) as bar:

        def advance() -> None:
            if stop.is_set():
                raise CancelledError
            bar.update()

        def write(number: int) -> Shard:
            path = out / f"shard-{number:05}.tar"
            record = path.with_suffix(".json")
            if record.is_file():
                shard = Shard.read(record)
                if not shard.rows or (path.is_file() and path.stat().st_size == shard.bytes):
                    bar.update(len(batches[number]))
                    return shard
            shard = write_shard(path, batches[number], recipe, advance=advance)
            write_text(record, json.dumps(shard))
            return shard

        with ThreadPoolExecutor(workers) as pool:  # decoding and encoding release Python's lock
            futures = [pool.submit(write, number) for number in range(len(batches))]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
            except BaseException:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    return [future.result() for future in futures]


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
        print(f"{len(packed.bad)} files left out, also listed in {options.out / 'bad_files.tsv'}")
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


if __name__ == "__main__":
    sys.exit(main())
