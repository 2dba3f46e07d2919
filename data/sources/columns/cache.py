"""Where the columns of a long manifest are kept between runs, how they are found again, and who makes them.

They lie in `.NAME.clips/` beside the manifest, or below the user's cache folder where that is not writable, or else in
a temporary folder. A list belongs to the options of its source and to the manifest's contents: size, times and inode
tell that these are the same as before; where they do not, the contents are hashed (0.2 s for a million lines).
"""

import contextlib
import fcntl
import itertools
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from data.errors import DataError
from data.sources.base import Clip
from data.sources.columns.clip_list import SUMMARY, VERSION, ClipList, UnusableCache, write_clips
from data.sources.columns.origin import Origin, digest

SHORT = 10_000  # clips of a list that is kept in memory
SMALL = 1 << 22  # bytes of a manifest that is read anew at each start, where its list is short
DEAD_SECONDS = 24 * 3600  # after which a list that was not finished is removed
QUIET_SECONDS = 5  # before progress is shown

logger = logging.getLogger(__name__)
Parse = Callable[[], Iterable[Clip]]
Usable = Callable[[Sequence[Clip]], bool]


def cached_clips(
    origin: Origin,
    parse: Parse,
    *,
    options: Sequence[Any],
    usable: Usable = bool,
) -> Sequence[Clip]:
    """The clips that `parse` reads from `origin`: a list where they are few, else columns.

    Columns are written once and found again, also those of a short list from a large manifest.

    Args:
        origin: the manifest.
        parse: yields the clips; what it raises is raised here.
        options: all else that the clips depend on, such as the class, its version, its split and its root.
        usable: whether a list that was found still holds: one whose files are no longer there is made anew.

    Raises:
        DataError: The columns can be written nowhere.
    """
    manifest = _Lists(origin, options, usable)
    found = manifest.cached()
    if found is None:
        read = lambda: _progress(parse(), origin.name)  # noqa: E731
        stream = iter(read())
        clips = list(itertools.islice(stream, SHORT + 1)) if origin.size <= SMALL else []
        if origin.size <= SMALL and len(clips) <= SHORT:
            manifest.remove_old()
            return clips
        with only_one(f"{origin.name} {manifest.key}"):
            found = manifest.cached()  # another process may have made it in the meantime
            if found is None:
                found = manifest.make(itertools.chain(clips, stream), read)
    return found if len(found) > SHORT else list(found)


def listed(clips: Iterable[Clip]) -> Sequence[Clip]:
    """Clips that come from no file: a list where they are few, else columns in a temporary folder."""
    stream = iter(clips)
    first = list(itertools.islice(stream, SHORT + 1))
    return first if len(first) <= SHORT else _temporary(itertools.chain(first, stream))


class _Lists:
    """The cached lists of a manifest."""

    def __init__(self, origin: Origin, options: Sequence[Any], usable: Usable) -> None:
        self._origin, self._usable = origin, usable
        self.key = digest(repr([VERSION, *options]).encode(), 6)

    def cached(self) -> ClipList | None:
        """The list made from the same contents with the same options, if there is one that is whole."""
        for home in filter(Path.is_dir, self._origin.homes):
            with contextlib.suppress(UnusableCache):
                found = ClipList(home / f"{self.key}-{self._contents_known_to(home)}")
                if self._usable(found):
                    return found
        return None

    def make(self, clips: Iterable[Clip], parse: Parse) -> ClipList:
        """Write the columns into the first place that takes them, or into a temporary folder."""
        for home in self._origin.homes:
            try:
                home.mkdir(parents=True, exist_ok=True)
                draft = Path(tempfile.mkdtemp(prefix=".making-", dir=home))
            except OSError:
                continue
            try:
                write_clips(draft, clips)
                if not self._origin.unchanged():  # it is not known which contents these are
                    clips = parse()
                    break
                made = self._install(draft, home)
                self.remove_old()
                return made
            except OSError as error:
                logger.warning("%s: no columns of %s: %s", home, self._origin.name, error.strerror or error)
                clips = parse()
            finally:
                shutil.rmtree(draft, ignore_errors=True)
                with contextlib.suppress(OSError):  # unless it holds a list
                    home.rmdir()
        logger.warning("%s: no folder keeps its columns: it is listed again in each process", self._origin.name)
        try:
            return _temporary(clips)
        except OSError as error:
            problem = f"is too long for the room in {tempfile.gettempdir()} ({error.strerror or error})"
            raise DataError("the manifest", self._origin.name, problem, "make room, or set TMPDIR") from error

    def remove_old(self) -> None:
        """Remove lists of earlier contents, unless a process has them open, and what dead processes left behind."""
        for home in filter(Path.is_dir, self._origin.homes):
            with contextlib.suppress(OSError):
                for entry in filter(Path.is_dir, list(home.iterdir())):
                    contents = entry.name.partition("-")[2]
                    draft = entry.name.startswith(".making-")
                    if _age(entry) > DEAD_SECONDS if draft else contents != self._origin.contents and _unused(entry):
                        _discard(entry)
                if not any(map(Path.is_dir, home.iterdir())):
                    shutil.rmtree(home)

    def _contents_known_to(self, home: Path) -> str:
        """The hash of the contents: as noted for the same state, else computed and noted."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            noted = json.loads((home / f"{self.key}.json").read_text(encoding="utf-8"))
            if noted["state"] == self._origin.state and noted["trusted"]:
                return str(noted["contents"])
        self._note(home)
        return self._origin.contents

    def _note(self, home: Path) -> None:
        known = {"state": self._origin.state, "trusted": self._origin.trusted, "contents": self._origin.contents}
        with contextlib.suppress(OSError):
            draft = home / f".{self.key}-{os.getpid()}.tmp"
            draft.write_text(json.dumps(known), encoding="utf-8")
            draft.replace(home / f"{self.key}.json")

    def _install(self, draft: Path, home: Path) -> ClipList:
        """Give a folder of columns its name, unless another process has just made the same."""
        folder = home / f"{self.key}-{self._origin.contents}"
        draft.chmod(0o755)
        for _ in range(2):
            try:
                draft.rename(folder)
                break
            except OSError:
                with contextlib.suppress(UnusableCache):
                    if self._usable(found := ClipList(folder)):
                        return found
                _discard(folder)
        self._note(home)
        try:
            return ClipList(folder, check=False)
        except UnusableCache as error:
            raise OSError(str(error)) from error


@contextlib.contextmanager
def only_one(work: str) -> Iterator[None]:
    """Wait until no other process of this user and machine does the same work."""
    path = Path(tempfile.gettempdir()) / f"clips-{os.getuid()}-{digest(work.encode('utf-8', 'surrogatepass'), 8)}.lock"
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # no folder to write to, or a file system without locks
            file = stack.enter_context(open(path, "a"))
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _temporary(clips: Iterable[Clip]) -> ClipList:
    """Columns in a temporary folder, which the process that made it removes."""
    folder = Path(tempfile.mkdtemp(prefix="clips-"))
    try:
        write_clips(folder, clips)
        made = ClipList(folder, check=False)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(made, _remove, folder, os.getpid())
    return made


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # a forked worker inherits the finalizer and must not run it
        shutil.rmtree(folder, ignore_errors=True)


def _progress(clips: Iterable[Clip], manifest: str) -> Iterator[Clip]:
    """The same clips; their number is shown when they take long. An OSError becomes a DataError."""
    pause = 0.5 if sys.stderr.isatty() else 30.0
    bar = tqdm(
        desc=f"listing {Path(manifest).name}", unit=" clips", delay=QUIET_SECONDS, mininterval=pause, leave=False
    )
    try:
        with bar:
            bar.iterable = clips
            yield from bar
    except OSError as error:
        raise DataError("the manifest", manifest, f"cannot be read ({error.strerror or error})") from error


def _unused(folder: Path) -> bool:
    """Whether no process has the list open, as far as the file system knows locks."""
    try:
        with open(folder / SUMMARY, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except FileNotFoundError:
        return folder.is_dir()
    except OSError:
        return False


def _discard(entry: Path) -> None:
    with contextlib.suppress(OSError):
        entry.unlink()
    shutil.rmtree(entry, ignore_errors=True)


def _age(path: Path) -> float:
    return time.time() - path.stat().st_mtime
