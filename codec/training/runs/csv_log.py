"""A `metrics.csv` that goes on where it was; Lightning's `CSVLogger` deletes the one that it finds."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.core.saving import save_hparams_to_yaml
from lightning.pytorch.loggers import CSVLogger, Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from torch import Tensor

from codec.training.runs.locks import locked_folder

METRICS, ABANDONED = "metrics.csv", "metrics.abandoned.csv"
LOGGED_AGAIN = ("train/", "val/")  # what a resumed run logs again of the batch that its checkpoint is of


class MetricsFile:
    """Rows waiting to be written to `metrics.csv`, and what is in it already.

    Columns are the union of all that were ever logged; a row that a killed process left half-written is removed.
    Several processes may add rows, such as a `test` beside a living `fit`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.metrics: list[dict[str, Any]] = []
        self.hparams: dict[str, Any] = {}

    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Remember a row until `save`."""
        row = {name: value.item() if isinstance(value, Tensor) else value for name, value in metrics.items()}
        self.metrics.append({**row, "step": len(self.metrics) if step is None else step})

    def log_hparams(self, params: dict[str, Any]) -> None:
        """Write `hparams.yaml`."""
        self.hparams.update(params)
        self.folder.mkdir(parents=True, exist_ok=True)
        save_hparams_to_yaml(str(self.folder / "hparams.yaml"), self.hparams)

    def save(self) -> None:
        """Add the remembered rows to the file."""
        if not self.metrics:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked_folder(self.folder):
            _append(self.folder / METRICS, self.metrics)
        self.metrics = []

    def abandon_after(self, batch: int) -> int:
        """Move the rows of batches after `batch` to `metrics.abandoned.csv`; returns how many they are.

        Lightning counts the batches of a row from 0, and logs a batch's values and its validation after the batch's
        checkpoint: these are moved too, as a run resumed from that checkpoint logs them again.
        """
        path = self.folder / METRICS
        if not path.is_file():
            return 0
        with locked_folder(self.folder):
            columns, rows = _read(path)
            abandoned = [row for row in rows if _is_after(row, batch)]
            if abandoned:
                _append(self.folder / ABANDONED, [{k: v for k, v in row.items() if v} for row in abandoned])
                _write(path, columns, [row for row in rows if not _is_after(row, batch)])
        return len(abandoned)


class KeptCSVLogger(CSVLogger):
    """Lightning's `CSVLogger`, continuing the `metrics.csv` that it finds."""

    _file: MetricsFile | None = None

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The `MetricsFile` of rank 0."""
        if self._file is None:
            self._file = MetricsFile(self.log_dir)
        return self._file

    @rank_zero_only
    def finalize(self, status: str) -> None:
        if self._file is not None:
            self.save()


def keep_metrics(loggers: Iterable[Logger]) -> None:
    """Make CSV loggers that have logged nothing yet continue the file of an earlier run; others stay as they are.

    A subclass with a writer of its own, and a folder elsewhere than on a local disk (`s3://…`), stay as they are.
    """
    for logger in loggers:
        kind: Any = type(logger)
        own = isinstance(logger, CSVLogger) and kind.experiment is CSVLogger.experiment
        if own and "://" not in str(logger.save_dir):
            bases = (KeptCSVLogger,) if kind is CSVLogger else (KeptCSVLogger, kind)
            logger.__class__ = type(kind.__name__, bases, {"__module__": kind.__module__})


def abandon_rows(loggers: Iterable[Logger], batch: int) -> int:
    """Set aside what CSV loggers hold of batches after the one that a run resumes from; returns the number of rows."""
    kept = [logger for logger in loggers if isinstance(logger, KeptCSVLogger)]
    return sum(logger.experiment.abandon_after(batch) for logger in kept)


def _is_after(row: Mapping[str, str], batch: int) -> bool:
    try:
        step = int(float(row.get("step") or 0))
    except ValueError:
        return False
    again = any(value and name.startswith(LOGGED_AGAIN) for name, value in row.items())
    return step > batch or (again and step >= batch - 1)


def _append(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    columns, _ = _read(path, rows=False) if path.is_file() else ([], [])
    new = sorted({name for row in rows for name in row} - set(columns))
    if not columns or new:
        _write(path, sorted([*columns, *new]), [*(_read(path)[1] if columns else []), *rows])
        return
    with path.open("r+b") as file:
        _cut_half_row(file)
    with path.open("a", newline="", encoding="utf-8") as file:
        csv.DictWriter(file, columns).writerows(rows)


def _cut_half_row(file: Any) -> None:
    """Remove what follows the last end of a line."""
    end = file.seek(0, os.SEEK_END)
    start = max(0, end - 2**20)
    file.seek(start)
    last = file.read().rfind(b"\n")
    if last >= 0:
        file.truncate(start + last + 1)


def _read(path: Path, *, rows: bool = True) -> tuple[list[str], list[dict[str, str]]]:
    """Columns and rows of a file; a last row without an end of line is left out."""
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(_whole_lines(file))
        columns = list(reader.fieldnames or [])
        found = [{k: v or "" for k, v in row.items() if k is not None} for row in reader] if rows else []
    return columns, found


def _whole_lines(lines: Iterable[str]) -> Iterator[str]:
    return (line for line in lines if line.endswith("\n"))


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    partial = path.with_name(path.name + ".partial")
    with _removed_at_the_end(partial):
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, path)


@contextmanager
def _removed_at_the_end(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
