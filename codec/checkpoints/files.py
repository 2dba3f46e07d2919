"""Checkpoint files that survive a crash: written whole or not at all, checked when read, found again afterwards."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning import Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from codec.checkpoints.reading import damage, read_checkpoint

PARTIAL = ".partial"


class SafeCheckpointIO(TorchCheckpointIO):
    """Writes a checkpoint under a temporary name, syncs it, and renames it; reads it only if its checksums match.

    So a name always means a complete file, whenever the process, the machine or the disk gives up, and a write that
    fails leaves the file of before and no half of the new one. The checksums are those of `torch.save`'s own format
    (a CRC-32 of each record): they travel with the file, and files of older runs have them too. Files elsewhere than on
    a local disk (`s3://…`) are written and read as Lightning does.
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
        except RuntimeError as error:
            if isinstance(error.__context__, OSError):  # PyTorch's writer complains of what that has left
                raise error.__context__ from None
            raise
        finally:
            partial.unlink(missing_ok=True)

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: Callable | None = lambda storage, location: storage,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Raises:
            ValueError: the file is damaged.
        """
        reason = damage(path) if Path(path).is_file() else None
        if reason is not None:
            raise ValueError(f"Checkpoint {path} is damaged ({reason}): give an older one of the run.")
        return super().load_checkpoint(path, map_location, weights_only)


def replace(source: Path, target: Path) -> None:
    """Give a file its final name, in the place of any that has it, and wait until the disk knows."""
    os.replace(source, target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def link(source: Path, target: Path) -> None:
    """Make `target` another name of `source`, or a copy where the file system has no links, all at once."""
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
    """Remove what writes that were killed have left in a folder; its names."""
    leftovers = sorted(folder.glob(f"*{PARTIAL}"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return [path.name for path in leftovers]


def checkpoint_folder(trainer: Trainer) -> Path:
    """Where a run's checkpoints go: `checkpoints` in the folder of the first logger, or in the default root."""
    if not trainer.loggers:
        return Path(trainer.default_root_dir, "checkpoints")
    logger = trainer.loggers[0]
    version = logger.version if isinstance(logger.version, str) else f"version_{logger.version}"
    return Path(logger.save_dir or trainer.default_root_dir, str(logger.name), version, "checkpoints")


def newest_checkpoint(folder: Path, *, resumable: bool) -> Path | None:
    """The newest complete checkpoint of a folder, None if there is none; each one passed over is warned of.

    Files called `last…` come first, the latest written of them before the others; then all others from the highest
    batch down, and by name where several are of one batch (`batch=2.ckpt` before `best.ckpt`, the same file).

    Args:
        folder: a run's checkpoints.
        resumable: pass over files of weights alone.
    """
    last = sorted(folder.glob("last*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    others = sorted(set(folder.glob("*.ckpt")) - set(last), key=lambda path: (-_batch(path), path.name))
    found, refused = None, []
    for path in [*last, *others]:
        try:
            checkpoint = read_checkpoint(path)
        except ValueError as error:
            refused.append(str(error).split(": give")[0])
            continue
        if resumable and "optimizer_states" not in checkpoint:
            refused.append(f"Checkpoint {path} holds weights alone")
            continue
        found = path
        break
    for sentence in refused:
        rank_zero_warn(f"{sentence}: passed over for {found.name if found else 'a fresh start'}.")
    return found


def _batch(path: Path) -> int:
    """The number of batches behind a checkpoint, -1 where it cannot be read."""
    try:
        return int(read_checkpoint(path, check=False).get("global_step", 0))
    except ValueError:
        return -1
