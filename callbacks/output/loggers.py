"""Where results go: numbers to every logger, images and audio to TensorBoard, files to the log folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import TensorBoardLogger

from callbacks.figures.panels import render
from codec.checkpoints.run_folder import run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from torch.utils.tensorboard import SummaryWriter


def log_scalars(trainer: Trainer, values: Mapping[str, float], *, step: int) -> None:
    """Give numbers to every logger of rank 0; NaN (no value) is left out."""
    if trainer.is_global_zero:
        found = {name: value for name, value in values.items() if not np.isnan(value)}
        for logger in trainer.loggers:
            logger.log_metrics(found, step=step)


def publish(pl_module: LightningModule, values: Mapping[str, float]) -> None:
    """Put numbers that are equal on all ranks into `trainer.callback_metrics`, where checkpoint callbacks look."""
    for name, value in values.items():
        pl_module.log(name, value, logger=False, sync_dist=False, rank_zero_only=False)


def log_reduced(trainer: Trainer, pl_module: LightningModule, values: Mapping[str, float]) -> None:
    """Log numbers that are equal on all ranks: for checkpoint callbacks, and at this batch in every logger."""
    publish(pl_module, values)
    log_scalars(trainer, values, step=trainer.global_step)


def print_report(*paragraphs: str) -> None:
    """Print paragraphs on the terminal, with an empty line before and after each."""
    print("\n" + "\n\n".join(paragraphs) + "\n", flush=True)


def tensorboard_writers(trainer: Trainer) -> list[SummaryWriter]:
    """The TensorBoard writers of rank 0; none elsewhere."""
    loggers = trainer.loggers if trainer.is_global_zero else []
    return [logger.experiment for logger in loggers if isinstance(logger, TensorBoardLogger)]


def log_folder(trainer: Trainer) -> Path:
    """The run's folder, by `run_folder`, as rank 0 knows it; every rank must call this (it is a collective)."""
    return Path(trainer.strategy.broadcast(str(run_folder(trainer))))


def save_figure(trainer: Trainer, figure: Figure, stem: Path, *, tag: str) -> None:
    """Write a figure as `stem`.svg and `stem`.png, and give it to TensorBoard as `tag`; on rank 0."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(stem.with_suffix(".svg"))
    figure.savefig(stem.with_suffix(".png"), dpi=130)
    for writer in tensorboard_writers(trainer):
        writer.add_image(tag, render(figure), trainer.global_step, dataformats="HWC")
