"""Where results go: numbers to every logger, figures, audio and tables to those that take them, files to a folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from callbacks.figures.panels import render
from callbacks.output.files import completed, without_nan, write_csv
from callbacks.output.services import Service, service_of
from codec.errors import first_line
from codec.training.runs.folders import run_folder

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def show_image(trainer: Trainer, tag: str, pixels: np.ndarray, *, step: int) -> None:
    """Give an image, uint8 [height, width, 3], to every logger of rank 0 that takes images."""
    _show(trainer, lambda service: service.image(tag, pixels, step))


def show_figure(trainer: Trainer, tag: str, make: Callable[[], Figure], *, step: int) -> None:
    """Draw a figure for every logger of rank 0 that takes images; where none does, it is not drawn."""
    if trainer.is_global_zero and any(service_of(logger) for logger in trainer.loggers):
        show_image(trainer, tag, render(make()), step=step)


def show_audio(trainer: Trainer, tag: str, signal: np.ndarray, *, sample_rate: int, step: int) -> None:
    """Give a signal [T], clipped to [-1, 1], to every logger of rank 0 that takes audio."""
    clipped = np.clip(np.pad(signal, (0, max(0, 2 - len(signal)))), -1, 1)  # TensorBoard refuses a single sample
    _show(trainer, lambda service: service.audio(tag, clipped, step, sample_rate=sample_rate))


def show_table(
    trainer: Trainer, tag: str, rows: Sequence[NamedTuple], *, step: int, leave_out: Sequence[str] = ()
) -> None:
    """Give a table, one line per row with the rows' fields, to every logger of rank 0 that takes tables."""
    if rows:
        columns = [column for column in rows[0]._fields if column not in leave_out]
        cells = [[_cell(getattr(row, column)) for column in columns] for row in rows]
        _show(trainer, lambda service: service.table(tag, columns, cells, step))


def show_text(trainer: Trainer, tag: str, text: str, *, step: int) -> None:
    """Give a text to every logger of rank 0 that takes texts."""
    _show(trainer, lambda service: service.text(tag, text, step))


def _show(trainer: Trainer, give: Callable[[Service], None]) -> None:
    """One that fails, as without a connection, costs a warning: the files in the run's folder have all."""
    if not trainer.is_global_zero:
        return
    for logger in trainer.loggers:
        service = service_of(logger)
        if service is None:
            continue
        try:
            give(service)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            rank_zero_warn(f"{type(logger).__name__} did not take a figure, audio, table or text ({reason}).")


def _cell(value: Any) -> Any:
    """A number, a word or None (no value) for a table's cell; all else as text."""
    plain = without_nan(value)
    return plain if plain is None or isinstance(plain, bool | int | float | str) else str(plain)


def log_folder(trainer: Trainer) -> Path:
    """The run's folder, by `run_folder`, as rank 0 knows it; every rank must call this (it is a collective)."""
    return Path(trainer.strategy.broadcast(str(run_folder(trainer))))


def save_figure(trainer: Trainer, figure: Figure, stem: Path, *, tag: str) -> None:
    """Write a figure as `stem`.svg and `stem`.png, and give it to the loggers as `tag`; on rank 0."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with completed(stem.with_suffix(".svg")) as partial:
        figure.savefig(partial)
    with completed(stem.with_suffix(".png")) as partial:
        figure.savefig(partial, dpi=130)
    show_image(trainer, tag, render(figure), step=trainer.global_step)


def save_table(
    trainer: Trainer, rows: Sequence[NamedTuple], path: Path, *, tag: str, leave_out: Sequence[str] = ()
) -> None:
    """Write a table as CSV, and give it to the loggers as `tag`; on rank 0."""
    write_csv(path, rows, leave_out=leave_out)
    show_table(trainer, tag, rows, step=trainer.global_step, leave_out=leave_out)
