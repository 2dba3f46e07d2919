"""Checkpoint files that survive a crash: written completely or not at all, and checked when they are read."""

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from torch import Tensor

from codec.checkpoints.safetensors import tensor_names
from codec.errors import UnreadableFile, first_line

FORMAT_VERSION = 1  # of checkpoints, under the key `format_version`; files without one are of version 0 (format.md)
PARTIAL = ".partial"
GIVE_ANOTHER = "give one that a run has written, or an older one of the run"


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, syncs it, and renames it; reads it only if its checksums match.

    So a name always means a complete file, even after a crash of the process or the machine, and a write that fails
    leaves the previous file as it was. The checksums are those of `torch.save`'s own format (a CRC-32
    of each record): they are part of the file, and files of older runs have them too. Files elsewhere than on a local
    disk (`s3://…`) are written and read as Lightning does.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint.

        Raises:
            OSError: it could not be written, as on a full disk.
        """
        if "://" in str(path) or storage_options is not None:
            super().save_checkpoint(checkpoint, path, storage_options)
            return
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + PARTIAL)
        try:
            with partial.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            replace(partial, target)
        except Exception as error:  # PyTorch's writer replaces the cause by errors of its own, of several kinds
            cause = _file_error(error)
            if cause is None or cause is error:
                raise
            raise cause from None
        finally:
            partial.unlink(missing_ok=True)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint; one that `read_file` has read and kept is handed over, if the file has not changed since.

        Raises:
            UnreadableFile: the file is damaged.
        """
        kept = _take(Path(path)) if weights_only is not False else None
        if kept is not None:
            return kept
        if Path(path).is_file():
            check_bytes(path)
        return super().load_checkpoint(path, map_location, weights_only)


def _file_error(error: BaseException | None) -> OSError | None:
    """The error of the file system that an error is or stems from: the first of all that followed each other."""
    found = None
    while error is not None:
        found = error if isinstance(error, OSError) else found
        error = error.__cause__ or error.__context__
    return found


def find_damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint's bytes, None if nothing, by the CRC-32 that `torch.save` adds to each record.

    Files in PyTorch's format before version 1.6 have no checksums and pass.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\3\4":
                return None
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
    except Exception as error:  # the reader raises many kinds for damaged files
        return first_line(error)
    return None if broken is None else f"the checksum of {broken} does not match"


def check_bytes(path: str | Path) -> None:
    """Raise an UnreadableFile if a checkpoint's checksums do not match."""
    reason = find_damage(path)
    if reason is not None:
        raise UnreadableFile("Checkpoint", path, f"is damaged ({reason})", GIVE_ANOTHER)


def read_file(path: Path, *, check: bool, keep: bool) -> dict[str, Any]:
    """Read a `.ckpt` file as plain tensors and values, which run no code.

    Args:
        path: of the file.
        check: compare the checksums of all bytes first.
        keep: keep the content until the trainer asks `SafeCheckpointIO` for it, which then reads nothing again.

    Raises:
        UnreadableFile: it is damaged, of another kind, of a newer format, or holds more than plain values.
    """
    state = _file_state(path)
    if check:
        check_bytes(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the reader raises many kinds for damaged files, with advice that does not fit here
        if tensor_names(path):
            raise UnreadableFile(
                str(path), None, "is a safetensors file", "give it a name that ends in .safetensors"
            ) from None
        allowed = "is damaged or holds more than weights and plain values"
        raise UnreadableFile("Checkpoint", path, allowed, GIVE_ANOTHER) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise UnreadableFile("Checkpoint", path, "holds no state_dict", "give a .ckpt file that a run has written")
    version = checkpoint.get("format_version", 0)
    if not isinstance(version, int) or version > FORMAT_VERSION:
        allowed = f"is of a newer format than version {FORMAT_VERSION}"
        raise UnreadableFile("Checkpoint", path, allowed, "install a newer version of this project")
    if keep and check:
        _kept[:] = [(state, checkpoint)]
    return checkpoint


# The one checkpoint that has been read, checked and not yet been handed over, with the state of its file.
_kept: list[tuple[tuple[str, int, int], dict[str, Any]]] = []


def _take(path: Path) -> dict[str, Any] | None:
    """The checkpoint kept of an unchanged file, which is kept no longer; None if there is none."""
    if not _kept or not path.is_file() or _kept[0][0] != _file_state(path):
        return None
    _, checkpoint = _kept.pop()
    # Copies: tensors mapped from the file would end up in optimizers, and crash the run when the file is overwritten.
    return _copy_tensors(checkpoint)


def _file_state(path: Path) -> tuple[str, int, int]:
    """Path, modification time in ns and size of a file, to notice that it was written anew."""
    status = path.stat()
    return str(path.resolve()), status.st_mtime_ns, status.st_size


def _copy_tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    if isinstance(value, dict):
        for key in value:
            value[key] = _copy_tensors(value[key])
    elif isinstance(value, list):
        value[:] = [_copy_tensors(item) for item in value]
    elif type(value) is tuple:
        return tuple(_copy_tensors(item) for item in value)
    return value


def replace(source: Path, target: Path) -> None:
    """Rename a file over `target` and sync the folder, so that the new name survives a crash of the machine."""
    os.replace(source, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def link(source: Path, target: Path) -> None:
    """Make `target` a hard link to `source`, or a copy where the file system has none, in one atomic step."""
    partial = target.with_name(target.name + PARTIAL)
    try:
        partial.unlink(missing_ok=True)
        try:
            os.link(source, partial)
        except OSError:
            shutil.copyfile(source, partial)
        replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)  # a rename onto another name of the same file does nothing


def remove_partial(folder: Path) -> list[str]:
    """Remove the partial files that killed writes left in a folder; returns their names."""
    leftovers = sorted(folder.glob(f"*{PARTIAL}"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return [path.name for path in leftovers]
