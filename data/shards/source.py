"""Corpora in tar shards, as `python -m data.prepare` packs them: each clip is read at random, through the manifest."""

import math
from typing import NamedTuple

import fsspec

from data.audio.members import member_path
from data.sources.listed import AudioSource, Clip

MANIFEST = "manifest.tsv"


class ShardRow(NamedTuple):
    """A line of the manifest: a clip, the shard it lies in, where its bytes are in it, and their SHA-256."""

    path: str
    seconds: float
    sample_rate: int
    speaker: str
    shard: str
    offset: int
    size: int
    sha256: str

    def line(self) -> str:
        return "\t".join(map(str, self)) + "\n"


HEADER = "\t".join(ShardRow._fields) + "\n"


class ShardSource(AudioSource):
    """The clips of a packed corpus; `root` is its folder or its URL (s3://, gs://, https:// and others of fsspec).

    Ids are those of the files that were packed, `name` goes in front of them. Crops are drawn as from loose files:
    from clips `data.prepare` packed as they are, every batch is bit for bit the same. A shard that is missing
    or cut off is one bad file, whatever number of its clips is drawn in vain.
    Raises ValueError for a manifest that is missing or out of reach, and with the line number for a row that cannot be
    understood.
    """

    def __init__(self, root: str, *, name: str | None = None) -> None:
        self.root, self.name = root.rstrip("/"), name
        if ".tar/" in f"{self.root}/":
            raise ValueError(f"root {root} lies in a folder named as a tar file; rename that folder")

    def clips(self) -> list[Clip]:
        manifest = f"{self.root}/{MANIFEST}"
        try:
            storage, path = fsspec.core.url_to_fs(manifest)
            header, *lines = storage.cat_file(path).decode("utf-8").removesuffix("\n").split("\n")
        except (FileNotFoundError, NotADirectoryError):
            hint = "pack the corpus with `python -m data.prepare SOURCE OUT` and give OUT as `root`"
            raise ValueError(f"{manifest} does not exist; {hint}") from None
        except UnicodeDecodeError as error:
            raise ValueError(f"{manifest} is not text ({error}); run data.prepare again") from None
        except Exception as error:  # each storage has its own kinds of errors
            reason = f"{type(error).__name__}: {str(error)[:200]}"
            raise ValueError(f"{manifest} cannot be read ({reason}); correct `root` or the access to it") from error
        if header != HEADER.rstrip():
            raise ValueError(
                f"{manifest}, line 1: {header[:80]!r} does not name the columns of data.prepare's manifests"
            )
        if not lines:
            raise ValueError(f"{manifest} lists no clips; run data.prepare again")
        return [self._clip(manifest, number, line) for number, line in enumerate(lines, start=2)]

    def _clip(self, manifest: str, number: int, line: str) -> Clip:
        try:
            path, seconds, _, speaker, shard, offset, size, _ = line.split("\t")
            place, length = (int(offset), int(size)), float(seconds)
            if min(place) <= 0 or not 0 < length < math.inf or not shard.endswith(".tar"):
                raise ValueError
            where = member_path(f"{self.root}/{shard}", path, offset=place[0], size=place[1])
            return Clip(where, f"{self.name}/{path}" if self.name else path, length, speaker or None)
        except ValueError:
            raise ValueError(
                f"{manifest}, line {number}: {line[:80]!r} is not a row of path, seconds, sample_rate, speaker, shard, "
                "offset, size and sha256; run data.prepare again"
            ) from None
