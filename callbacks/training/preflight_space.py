"""Whether the checkpoints of a run fit on the disk: their size, and how many are kept at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from lightning.pytorch.callbacks import ModelCheckpoint

from callbacks.training.ema import CodecEMA
from callbacks.training.run_checkpoint import RunCheckpoint
from codec.training.lightning_internals import every_n_train_steps
from codec.training.runs.folders import checkpoint_folder

OPTIMIZER_STATES = 2  # numbers that Adam keeps for each weight


class Finding(NamedTuple):
    """One sentence about the run; fatal if the run would fail or be useless."""

    text: str
    fatal: bool = True


def checkpoint_space(trainer: Any, module: Any) -> Iterator[Finding]:
    """Write access to the checkpoints' folder, and space for all that are kept at once."""
    size = checkpoint_bytes(trainer, module)
    for saver in trainer.checkpoint_callbacks:
        given = getattr(saver, "dirpath", None)
        folder = Path(given or checkpoint_folder(trainer))
        if "://" in str(folder):
            continue
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            yield Finding(
                f"{folder} cannot be written ({error.strerror}): give a folder that you may write to as "
                f"{'checkpoint.dirpath' if given else 'trainer.logger.init_args.save_dir'}."
            )
            continue
        there = {file.stat().st_ino: file.stat().st_size for file in folder.glob("*.ckpt")}  # links share an inode
        kept, free = kept_checkpoints(trainer, saver), shutil.disk_usage(folder).free
        needed = kept * size - sum(there.values())
        if needed > free:
            yield Finding(
                f"{folder} has {_readable(free)} free, but {kept} checkpoints of about {_readable(size)} are kept at "
                f"once and need {_readable(needed)} more: make room, keep fewer, or give another folder as dirpath."
            )


def checkpoint_bytes(trainer: Any, module: Any) -> int:
    """About how large a checkpoint with optimizer states will be."""
    weights = sum(tensor.nbytes for tensor in module.state_dict().values())
    states = OPTIMIZER_STATES * sum(p.nbytes for p in module.parameters() if p.requires_grad)
    averaged = any(isinstance(callback, CodecEMA) for callback in trainer.callbacks)
    averages = [p.nbytes for p in module.codec.parameters() if averaged and p.requires_grad]
    return weights + states + sum(averages)


def kept_checkpoints(trainer: Any, saver: Any) -> int:
    """Number of files that a checkpoint callback keeps at once, including the one being written."""
    if isinstance(saver, RunCheckpoint):
        return saver.recent + (saver.best if saver.monitor else 0) + 1
    if not isinstance(saver, ModelCheckpoint):
        return 1
    kept = saver.save_top_k
    if kept < 0:  # all of them
        kept = max(1, trainer.max_steps // (every_n_train_steps(saver) or max(1, trainer.max_steps)))
    return kept + bool(saver.save_last) + 1


def _readable(size: float) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
