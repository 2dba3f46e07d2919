"""Locks that a process holds and a dead one does not: of a run's folder, so that no two runs write the same files."""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from codec.errors import UserError, first_line

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

GRACE = 10.0  # s; a run that is just ending, as before a requeue, is waited for
HELD_BY_ANOTHER = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
_held: dict[Path, int] = {}  # the file descriptors of this process's locks
_made: dict[Path, list[Path]] = {}  # by lock, the folders that this process made for it, the innermost first


class FolderInUse(UserError):
    """A folder that a living run writes to."""


def hold(path: Path, *, what: str, grace: float | None = None) -> None:
    """Hold a lock file until `release` or the end of this process, however it ends; again is no error.

    Where files cannot be locked, as on some network file systems, it warns and goes on.

    Args:
        path: of the lock file, which states the process that holds it; its folder is made.
        what: the thing that it protects, for the messages.
        grace: seconds to wait for another process that holds it, `GRACE` where not given.

    Raises:
        FolderInUse: another process holds it.
    """
    path = path.absolute()
    if path in _held:
        return
    try:
        new = [folder for folder in path.parents if not folder.exists()]
        descriptor = _locked(path, until=time.monotonic() + (GRACE if grace is None else grace))
    except OSError as error:
        rank_zero_warn(f"{what} cannot be locked ({first_line(error)}): start no second run there.")
        return
    if descriptor is None:
        raise FolderInUse(
            what,
            None,
            f"is in use by another run{_holder(path)}",
            "wait until that has ended or stop it, or give this run a name of its own (trainer.logger.init_args.name); "
            f"if that machine is lost, remove {path}",
        )
    _held[path], _made[path] = descriptor, new


def release(path: Path) -> None:
    """Give up a lock that this process holds, if it does; folders made for it that hold nothing else are removed."""
    path = path.absolute()
    if path in _held:
        remove_made(path)  # while it is held: who waits for it sees that it is gone, and makes another
        os.close(_held.pop(path))


def remove_made(path: Path) -> None:
    """Remove a lock's file and the folders made for it, as far as nothing else is in them."""
    path = path.absolute()
    with suppress(OSError):
        for folder in _made.get(path, []):
            if list(folder.iterdir()) == [path]:
                path.unlink()
            folder.rmdir()


def release_all() -> None:
    """Give up all locks of this process."""
    for path in list(_held):
        release(path)
    _made.clear()


def is_new(folder: Path) -> bool:
    """Whether this process made a folder, for a lock in it, since `release_all`."""
    return any(folder.absolute() in made for made in _made.values())


def is_held(path: Path) -> bool:
    """Whether another process holds a lock file."""
    if path.absolute() in _held or not path.is_file():
        return False
    try:
        descriptor = _locked(path, until=0.0)
    except OSError:
        return False
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


@contextmanager
def locked_folder(folder: Path) -> Iterator[None]:
    """Inside, no other process is inside for this folder; without a lock where folders cannot be locked."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if fcntl is not None:
            with suppress(OSError):
                fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _locked(path: Path, *, until: float) -> int | None:
    """The descriptor of a file that is now locked and states this process; None if another holds it at time `until`."""
    if fcntl is None:
        raise OSError(errno.ENOSYS, "no file locks on this system")
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _names(path, descriptor):
                holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, (json.dumps(holder) + "\n").encode(), 0)
                return descriptor
        except OSError as error:
            if error.errno not in HELD_BY_ANOTHER:
                os.close(descriptor)
                raise
            if time.monotonic() >= until:
                os.close(descriptor)
                return None
        os.close(descriptor)
        time.sleep(0.1)


def _names(path: Path, descriptor: int) -> bool:
    """Whether a path still names the open file: it may have been removed meanwhile."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f" (process {holder['pid']} on {holder['host']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _forget_in_child() -> None:
    """Close what a forked worker has inherited: it would hold the lock of a run that was killed."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()
    _made.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
