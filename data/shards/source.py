"""Corpora in tar shards, as `python -m data.prepare` packs them; a manifest says where in a shard each clip is."""

import io
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, TextIO

import fsspec
from fsspec.implementations.local import LocalFileSystem

from data.audio.members import member_path
from data.errors import DataError
from data.sources.base import AudioSource, Clip, clip_id
from data.sources.columns.cache import cached_clips, listed
from data.sources.columns.origin import LocalFiles, Origin, StoredObject

MANIFEST = "manifest.tsv"
TEXTS, TEXTS_HEADER = "texts.tsv", "path\ttext\n"  # what is said in clips of the manifest, in its order
VERSION = 1  # raise it when the same manifest gives other clips
AGAIN = "run data.prepare again"


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
    for bit. A shard that is missing or cut off counts as one bad file, however many of its clips are drawn. What is
    said is read from texts.tsv beside the manifest, where the packed corpus had texts; training does not read it.

    Args:
        root: the corpus's folder, or its URL (s3://, gs://, https:// and others that fsspec knows).
        name: of the corpus, in front of the ids, which are those of the files that were packed.

    Raises:
        DataError: `clips` cannot use the manifest; with the line number where a row is the reason.
    """

    def __init__(self, root: str, *, name: str | None = None) -> None:
        self.root, self.name = root.rstrip("/"), name
        self._manifest = f"{self.root}/{MANIFEST}"
        if ".tar/" in f"{self.root}/":
            raise DataError("root", root, "must not be in a folder whose name ends in .tar", "rename that folder")

    def clips(self) -> Sequence[Clip]:
        with self._explained():
            storage, path = fsspec.core.url_to_fs(self._manifest)
            origin: Origin
            texts = fsspec.core.url_to_fs(f"{self.root}/{TEXTS}")[1]
            beside = [texts] if storage.exists(texts) else []  # also for training: one folder keeps lists of one state
            if isinstance(storage, LocalFileSystem):
                origin = LocalFiles([Path(path), *map(Path, beside)])
            else:
                try:
                    origin = StoredObject(self._manifest, storage, [path, *beside])
                except Exception:  # some storages tell nothing, or not what is wrong: reading will
                    return listed(self._parsed())
            known = ("texts",) if beside and self.reads_text else ()
            options = ("ShardSource", VERSION, self.root, self.name, *known)
            return cached_clips(origin, self._parsed, options=options)

    def _parsed(self) -> Iterator[Clip]:
        """The clips, a line of the manifest at a time."""
        number = 1
        with self._explained(), self._opened(self._manifest) as lines:
            header = lines.readline()
            if header.removesuffix("\n") != HEADER.rstrip():
                problem = "does not name the columns of data.prepare's manifests"
                raise DataError(f"{self._manifest}, line 1:", repr(header[:80]), problem, AGAIN)
            texts = self._texts()
            path, text = next(texts, ("", ""))
            for number, line in enumerate(lines, start=2):
                clip = self._clip(number, line.removesuffix("\n"))
                if path and line.startswith(f"{path}\t"):
                    clip = clip._replace(text=text)
                    path, text = next(texts, ("", ""))
                yield clip
        if number < 2:
            raise DataError(self._manifest, allowed="lists no clips", remedy=AGAIN)
        if path:
            problem = f"has a text for {path[:80]!r}, which is not the manifest's next clip"
            raise DataError(f"{self.root}/{TEXTS}", allowed=problem, remedy=f"{AGAIN}, or remove {TEXTS}")

    def _texts(self) -> Iterator[tuple[str, str]]:
        """(path, text) of the clips whose text is known, in the order of the manifest; none where it is not read."""
        storage, path = fsspec.core.url_to_fs(f"{self.root}/{TEXTS}")
        if self.reads_text and storage.exists(path):
            with self._opened(f"{self.root}/{TEXTS}") as lines:
                next(lines, None)  # the names of the columns
                for line in lines:
                    name, _, text = line.removesuffix("\n").partition("\t")
                    yield name, text

    def _opened(self, url: str) -> TextIO:
        """A list as text; one in object storage is read whole."""
        storage, path = fsspec.core.url_to_fs(url)
        local = isinstance(storage, LocalFileSystem)
        binary = open(path, "rb") if local else io.BytesIO(storage.cat_file(path))  # noqa: SIM115
        return io.TextIOWrapper(binary, encoding="utf-8", newline="\n")

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Errors of the storage become DataErrors that name the manifest."""
        try:
            yield
        except DataError:
            raise
        except (FileNotFoundError, NotADirectoryError):
            remedy = "pack the corpus with `python -m data.prepare SOURCE OUT` and give OUT as `root`"
            raise DataError(self._manifest, allowed="does not exist", remedy=remedy) from None
        except UnicodeDecodeError as error:
            raise DataError(self._manifest, allowed=f"is not text ({error})", remedy=AGAIN) from None
        except Exception as error:  # each storage has its own kinds of errors
            problem = f"cannot be read ({type(error).__name__}: {str(error)[:200]})"
            raise DataError(self._manifest, allowed=problem, remedy="correct `root` or the access to it") from error

    def _clip(self, number: int, line: str) -> Clip:
        try:
            path, seconds, _, speaker, shard, offset, size, _ = line.split("\t")
            first, count, length = int(offset), int(size), float(seconds)
            if min(first, count) <= 0 or not 0 < length < math.inf or not shard.endswith(".tar"):
                raise ValueError
        except ValueError:
            problem = f"is not a row of {', '.join(ShardRow._fields)}"
            raise DataError(f"{self._manifest}, line {number}:", repr(line[:80]), problem, AGAIN) from None
        member = member_path(f"{self.root}/{shard}", path, offset=first, size=count)
        return Clip(member, clip_id(path, self.name), length, speaker or None)
