"""Where a run keeps its files: one rule for all loggers, and for none."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning import Trainer
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger

from codec.training.runs.locks import hold, is_new, remove_made

CHECKPOINTS, LOCK = "checkpoints", "checkpoints.lock"
# What the start of a run writes before its first batch; events are TensorBoard's.
OF_A_START = re.compile(r"checkpoints|checkpoints\.lock|config\.yaml|hparams\.yaml|run\.json|events\.out\.tfevents\..*")


def run_folder(trainer: Trainer) -> Path:
    """A run's folder, in which its configuration, checkpoints, figures and tables are. This is no collective.

    That of the first logger that has one, TensorBoard or CSV: `save_dir/name/version`. Of any other, and without a
    logger, it is the trainer's `default_root_dir`, which the command line sets to a folder of the run's own. A Trainer
    made in Python without one has `save_dir/name/version` of its first logger, or the working folder.
    """
    place = next((logger for logger in trainer.loggers if isinstance(logger, CSVLogger | TensorBoardLogger)), None)
    root = Path(trainer.default_root_dir)
    if place is not None:
        return logger_folder(place, root)
    if trainer.loggers and root == Path.cwd():
        return logger_folder(trainer.loggers[0], root)
    return root


def checkpoint_folder(trainer: Trainer) -> Path:
    """Where a run's checkpoints are unless a callback has a folder of its own: `checkpoints` in the run's folder."""
    return run_folder(trainer) / CHECKPOINTS


def hold_folders(run: Path, checkpoints: Path) -> list[Path]:
    """Lock a run's folder, unless that is the working folder, and its checkpoints'; returns the lock files.

    Raises:
        FolderInUse: another process has locked one of them.
    """
    locks = {checkpoints.with_name(checkpoints.name + ".lock").absolute(): f"The checkpoints' folder {checkpoints}"}
    if run.absolute() != Path.cwd():
        locks[(run / LOCK).absolute()] = f"The run's folder {run}"
    local = {path: what for path, what in locks.items() if "://" not in what}
    for path, what in local.items():
        hold(path, what=what)
    return list(local)


def forget_start(run: Path) -> None:
    """Remove a run's folder that this process made and in which nothing is but what a start writes: no checkpoint."""
    if not is_new(run) or not all(OF_A_START.fullmatch(path.name) for path in run.iterdir()):
        return
    with suppress(OSError):
        if (run / CHECKPOINTS).exists():
            (run / CHECKPOINTS).rmdir()  # fails if it holds any
        for path in run.iterdir():
            if path.name != LOCK:
                path.unlink()
        remove_made(run / LOCK)


def logger_folder(logger: Logger, root: Path) -> Path:
    """`save_dir/name/version` of a logger, `version_N` where the version is a number."""
    version: Any = logger.version
    version = version if isinstance(version, str) else "" if version is None else f"version_{version}"
    save_dir = os.path.expanduser(os.path.expandvars(str(logger.save_dir or root)))
    return Path(save_dir, "" if logger.name is None else str(logger.name), version)
