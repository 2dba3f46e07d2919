"""What a list of clips is made from: local files or an object in storage, how it is seen to be the same as before."""

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

SETTLED_NS = 2 * 10**9  # a file changed less than this before it was looked at may have changed again unnoticed
REVISION_KEYS = (  # what storages of fsspec tell about a version of an object
    *("ETag", "etag", "md5Hash", "md5", "content_md5", "Content-MD5", "Digest", "crc32c", "checksum", "ContentHash"),
    *("generation", "VersionId", "version_id", "LastModified", "last_modified", "updated", "mtime", "created"),
)


class Origin(Protocol):
    """A manifest, as it was when this object was made.

    Attributes:
        name: for messages.
        size: bytes.
        state: tells cheaply whether contents are the same; None where nothing does.
        trusted: whether equal states mean equal contents.
    """

    name: str
    size: int
    state: Any
    trusted: bool

    @property
    def contents(self) -> str:
        """A hash of the contents."""

    @property
    def homes(self) -> list[Path]:
        """The folders that may hold its lists, the best first."""

    def unchanged(self) -> bool:
        """Whether the state is still the same."""


class LocalFiles:
    """A manifest and the files that are read along with it: an `Origin` whose contents are hashed where need be."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files, self.name = list(files), str(files[0])
        self.state, seen_at = self._stat(), time.time_ns()
        self.size = sum(size for size, *_ in self.state)
        self.trusted = max(max(changed, renamed) for _, changed, renamed, _ in self.state) + SETTLED_NS < seen_at

    @cached_property
    def contents(self) -> str:
        digest = hashlib.blake2b(digest_size=12)
        for path in self._files:
            with open(path, "rb", buffering=0) as file:
                while block := file.read(1 << 20):
                    digest.update(block)
            digest.update(b"\0end\0")
        return digest.hexdigest()

    @property
    def homes(self) -> list[Path]:
        manifest = self._files[0].absolute()
        return [manifest.parent / f".{manifest.name}.clips", *user_folder(str(manifest))]

    def unchanged(self) -> bool:
        return self._stat() == self.state

    def _stat(self) -> list[list[int]]:
        found = map(os.stat, self._files)
        return [[stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino] for stat in found]


class StoredObject:
    """A manifest in a storage of fsspec: an `Origin` that is known by what the storage tells, and never downloaded.

    Args:
        url: of the object.
        storage: the file system.
        paths: of the object there, and of those that are read along with it.

    Raises:
        Exception: of the storage, where an object is not there.
    """

    def __init__(self, url: str, storage: Any, paths: Sequence[str]) -> None:
        self.name, self._storage, self._paths = url, storage, list(paths)
        self.state, self.size, self.trusted = self._revision()

    @property
    def contents(self) -> str:
        return digest(repr(self.state).encode(), 12)

    @property
    def homes(self) -> list[Path]:
        return user_folder(self.name) if self.trusted else []

    def unchanged(self) -> bool:
        return self._revision()[0] == self.state

    def _revision(self) -> tuple[list[str], int, bool]:
        """What the storage tells, the bytes of all objects, and whether it tells more than those of each."""
        self._storage.invalidate_cache()  # listings of folders that it has seen before
        state, size, trusted = [], 0, True
        for info in map(self._storage.info, self._paths):
            told = [f"{key} {info[key]}" for key in REVISION_KEYS if info.get(key) not in (None, "")]
            state += [str(info.get("size") or 0), *told]
            size, trusted = size + int(info.get("size") or 0), trusted and bool(told)
        return state, size, trusted


def user_folder(name: str) -> list[Path]:
    """The folder for the lists of one manifest in the user's cache folder; none where there is no home folder."""
    with suppress(RuntimeError):
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "neural-speech-codec" / "clips"
        return [cache / f"{Path(name).stem[:40]}-{digest(name.encode('utf-8', 'surrogatepass'), 8)}"]
    return []


def digest(data: bytes, size: int) -> str:
    """A hash of `size` bytes as text."""
    return hashlib.blake2b(data, digest_size=size).hexdigest()
