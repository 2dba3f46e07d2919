"""Where the command line puts a run: the folder that its loggers name, or the next free `version_N` beside theirs.

A logger with a version, as the default has, names the run's folder by itself, and other loggers follow it. Without one
each new run has a folder of its own, and `auto`, `last` and `best` go back to the newest of the same run: of the same
model, data and seed.
"""

from __future__ import annotations

import atexit
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities.rank_zero import rank_zero_info, rank_zero_only

from codec.training.runs.folders import CHECKPOINTS, LOCK
from codec.training.runs.locks import FolderInUse, hold, release

ROOT, NAME = "runs", "run"  # of runs without a logger, or with one that states no folder or no name
VERSION = re.compile(r"version_(\d+)")
SPECIAL = ("auto", "last", "best")
FREE = frozenset(
    (  # they change the speed, or files that a newer version finds by default
        "extensions",
        "compiled",
        "checkpointing",
        "num_workers",
        "pin_memory",
        "prefetch_factor",
        "persistent_workers",
    )
)
IDENTITY = ("model", "data", "seed_everything")  # blocks of a configuration that make a run the same
RUN_FILE = "run.json"  # what the loggers' services call the run
# How a logger's class calls the run's identifier at its service.
SERVICES = {"WandbLogger": "id", "MLFlowLogger": "run_id", "CometLogger": "experiment_key"}


class Wish(NamedTuple):
    """What the command asks for: its name, `ckpt_path`, the checkpoints' own folder, and its configuration."""

    command: str
    ckpt_path: str | None
    dirpath: str | None
    config: Callable[[], dict[str, Any]]


def place_run(options: Any, wish: Wish, *, default: dict[str, Any]) -> None:
    """Complete the trainer's options, so that `run_folder` finds the run's folder, alike at each restart.

    Args:
        options: of the Trainer as parsed; `logger` and `default_root_dir` are changed.
        wish: what the command asks for.
        default: the logger that `trainer.logger true` means.
    """
    if options.logger is True or options.logger is None:
        options.logger = Namespace(class_path=default["class_path"], init_args=Namespace(default["init_args"]))
    if options.fast_dev_run:
        if options.default_root_dir is None:  # its files are nobody's
            options.default_root_dir = tempfile.mkdtemp(prefix="fast_dev_run-")
            atexit.register(shutil.rmtree, options.default_root_dir, ignore_errors=True)
        return
    loggers = _blocks(options.logger)
    folders = [block for block in loggers if issubclass(_class_of(block), CSVLogger | TensorBoardLogger)]
    if not folders and options.default_root_dir is not None:
        folder = Path(options.default_root_dir)
    else:
        base, version = _stated_place((folders or loggers or [None])[0])
        if version is None:
            number = _choose_number(base, wish)
            folder = base / f"version_{number}"
            for block in folders:
                if block.init_args.get("version") is None:
                    block.init_args.version = number
        else:
            folder = base / (version if isinstance(version, str) else f"version_{version}")
            for block in folders:  # else each start would open a new one
                if block.init_args.get("version") is None:
                    block.init_args.version = (
                        version if version != "" or _stated_place(block)[0] == base else folder.name
                    )
        if not folders:
            options.default_root_dir = str(folder)
    if wish.command == "fit" and wish.ckpt_path and _has_checkpoints(folder):
        _continue_at_services(loggers, folder)


def note_services(folder: Path, loggers: list[Logger]) -> None:
    """Write what the loggers' services call the run into its folder, for the run that goes on from it."""
    names = {type(logger).__name__: logger.version for logger in loggers if type(logger).__name__ in SERVICES}
    if names:
        (folder / RUN_FILE).write_text(json.dumps({"loggers": names}, indent=1) + "\n", encoding="utf-8")


def _continue_at_services(loggers: list[Any], folder: Path) -> None:
    try:
        names = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["loggers"]
    except (OSError, ValueError, KeyError):
        return
    for block in loggers:
        kind = block.class_path.rpartition(".")[2]
        key = SERVICES.get(kind)
        if key and names.get(kind) and not block.init_args.get(key) and not block.init_args.get("version"):
            block.init_args[key] = names[kind]


def _blocks(logger: Any) -> list[Any]:
    """The loggers' blocks in the configuration; none for `false`."""
    return [] if logger is False else list(logger) if isinstance(logger, list | tuple) else [logger]


def _class_of(block: Any) -> type:
    module, _, name = block.class_path.rpartition(".")
    return getattr(import_module(module), name)


def _stated_place(block: Any) -> tuple[Path, Any]:
    """The folder over a logger's versions, and its version, None if it states none."""
    given = {} if block is None else block.init_args
    if block is not None and issubclass(_class_of(block), CSVLogger | TensorBoardLogger):
        root, names = given.get("save_dir"), [given.get("name", "lightning_logs")]
    else:
        root = given.get("save_dir")
        if "tracking_uri" in given or "run_id" in given:  # MLflow takes a folder in its own for an experiment
            uri = given.get("tracking_uri") or ""
            store = uri.removeprefix("file:") if uri.startswith("file:") else None if uri else root
            root = Path(store.removeprefix("//")).parent / ROOT if store else ROOT
        keys = ("project", "project_name", "experiment_name", "name", "run_name")
        names = [given[key] for key in keys if given.get(key)] or [NAME]
    version = given.get("version")
    version = version if version is not None else next((given[k] for k in SERVICES.values() if given.get(k)), None)
    root = ROOT if root is None or os.path.normpath(root) == "." else root
    root = os.path.expanduser(os.path.expandvars(str(root)))
    return Path(root, *(str(name) for name in names if name)), version


def _choose_number(base: Path, wish: Wish) -> int:
    """The version that a command goes back to, or the next free one, which is then locked by rank 0."""
    there = dict(sorted(_versions(base), reverse=True))  # the newest first
    if wish.ckpt_path and wish.ckpt_path not in SPECIAL:
        given = Path(wish.ckpt_path).absolute()
        inside = [number for number, folder in there.items() if given.is_relative_to(folder.absolute())]
        return inside[0] if inside else _next_number(base, there)
    found = [number for number, folder in there.items() if wish.dirpath or _has_checkpoints(folder)]
    if not wish.ckpt_path or not found:
        return _next_number(base, there)
    config = wish.config()
    alike = {number: [_agrees(block, there[number], config) for block in IDENTITY] for number in found}
    if wish.ckpt_path == "auto":
        same = [number for number in found if all(alike[number])]
        if not same and not wish.dirpath:
            rank_zero_info(f"The runs in {base} are of another model, data or seed: this one has a folder of its own.")
        return same[0] if same else _next_number(base, there)
    best = max(found, key=lambda number: (alike[number], number))
    if not alike[best][0]:
        rank_zero_info(f"No run in {base} is of this model: {wish.ckpt_path} means that of version_{best}.")
    return best


def _versions(base: Path) -> Iterator[tuple[int, Path]]:
    for folder in base.glob("version_*"):
        if match := VERSION.fullmatch(folder.name):
            yield int(match[1]), folder


def _has_checkpoints(folder: Path) -> bool:
    return any((folder / CHECKPOINTS).glob("*.ckpt"))


def _next_number(base: Path, there: dict[int, Path]) -> int:
    """The first free number after those there are; a folder with nothing but a lock that nobody holds is free."""
    newest = max(there, default=-1)
    start = newest if newest >= 0 and _is_empty(there[newest]) else newest + 1
    if rank_zero_only.rank != 0:  # type: ignore[attr-defined]
        return start
    for number in count(start):
        lock = base / f"version_{number}" / LOCK
        try:
            hold(lock, what=f"The run's folder {lock.parent}", grace=0.0)
        except FolderInUse:
            continue
        if _is_empty(lock.parent):
            return number
        release(lock)
    raise AssertionError


def _is_empty(folder: Path) -> bool:
    return not folder.is_dir() or all(path.name == LOCK for path in folder.iterdir())


def _agrees(block: str, folder: Path, config: dict[str, Any]) -> bool:
    """Whether the configuration of the run in a folder has the same block."""
    try:
        other = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        return same_settings(other[block], config[block])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return False


def same_settings(one: Any, other: Any) -> bool:
    """Whether two blocks of a configuration agree, as far as both state something; what changes speed alone is free."""
    if isinstance(one, dict) and isinstance(other, dict):
        return all(same_settings(one[key], other[key]) for key in (one.keys() & other.keys()) - FREE)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_settings, one, other))
    return one == other
