"""Corpora in tar shards, as `python -m data.prepare` packs them; a manifest says where in a shard each clip is."""

import math
from typing import NamedTuple

import fsspec

from data.audio.members import member_path
from data.errors import DataError
from data.sources.base import AudioSource, Clip, clip_id

MANIFEST = "manifest.tsv"


class ShardRow(NamedTuple):
    """A line of the manifest: a clip, its shard, the place and number of its bytes there, and their SHA-256."""

    path: str
    seconds: float
    sample_rate: int
    speaker: str
    shard: str
    offset: int
    size: int
    sha256: str

    def line(self) -> str:
        """The row as text, with tabs between the columns."""
        return "\t".join(map(str, self)) + "\n"


HEADER = "\t".join(ShardRow._fields) + "\n"


class ShardSource(AudioSource):
    """The clips of a packed corpus, read from its shards.

    Crops are drawn as from loose files: from clips that `data.prepare` packed as they are, every batch is the same bit
    for bit. A shard that is missing or cut off counts as one bad file, however many of its clips are drawn.

    Args:
        root: the corpus's folder, or its URL (s3://, gs://, https:// and others that fsspec knows).
        name: of the corpus, in front of the ids, which are those of the files that were packed.

    Raises:
        DataError: `clips` cannot use the manifest; with the line number where a row is the reason.
    """

    def __init__(self, root: str, *, name: str | None = None) -> None:
        self.root, self.name = root.rstrip("/"), name
        if ".tar/" in f"{self.root}/":
            raise DataError("root", root, "must not be in a folder whose name ends in .tar", "rename that folder")

    def clips(self) -> list[Clip]:
        manifest = f"{self.root}/{MANIFEST}"
        again = "run data.prepare again"
        try:
            storage, path = fsspec.core.url_to_fs(manifest)
            header, *lines = storage.cat_file(path).decode("utf-8").removesuffix("\n").split("\n")
        except (FileNotFoundError, NotADirectoryError):
            remedy = "pack the corpus with `python -m data.prepare SOURCE OUT` and give OUT as `root`"
            raise DataError(manifest, allowed="does not exist", remedy=remedy) from None
        except UnicodeDecodeError as error:
            raise DataError(manifest, allowed=f"is not text ({error})", remedy=again) from None
        except Exception as error:  # each storage has its own kinds of errors
            problem = f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
            raise DataError(manifest, allowed=problem, remedy="correct `root` or the access to it") from error
        if header != HEADER.rstrip():
            problem = "does not name the columns of data.prepare's manifests"
            raise DataError(f"{manifest}, line 1:", repr(header[:80]), problem, again)
        if not lines:
            raise DataError(manifest, allowed="lists no clips", remedy=again)
        return [self._clip(manifest, number, line) for number, line in enumerate(lines, start=2)]

    def _clip(self, manifest: str, number: int, line: str) -> Clip:
        try:
            path, seconds, _, speaker, shard, offset, size, _ = line.split("\t")
            first, count, length = int(offset), int(size), float(seconds)
            if min(first, count) <= 0 or not 0 < length < math.inf or not shard.endswith(".tar"):
                raise ValueError
        except ValueError:
            problem = f"is not a row of {', '.join(ShardRow._fields)}"
            raise DataError(f"{manifest}, line {number}:", repr(line[:80]), problem, "run data.prepare again") from None
        member = member_path(f"{self.root}/{shard}", path, offset=first, size=count)
        return Clip(member, clip_id(path, self.name), length, speaker or None)
