"""How each logger shows an image, audio, a table and a text: TensorBoard, W&B, MLflow, Comet and Neptune.

Loggers are told apart by the name of their class, so that none of the packages needs to be there. Written for the
interfaces that the services document; tried with TensorBoard, W&B 0.31 (offline) and MLflow 3.17 (file store).
"""

from __future__ import annotations

import csv
import io
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


class Service:
    """A logger's images, audio, tables and texts; tags are paths such as `channel/quality`.

    Args:
        logger: a logger of Lightning's.
    """

    def __init__(self, logger: Any) -> None:
        self.logger = logger

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        """Show an image, uint8 [height, width, 3]."""
        raise NotImplementedError

    def audio(self, tag: str, signal: np.ndarray, step: int, *, sample_rate: int) -> None:
        """Show a signal [T] within [-1, 1], of at least two samples."""
        raise NotImplementedError

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        """Show a table; a cell without a value is None."""
        raise NotImplementedError

    def text(self, tag: str, text: str, step: int) -> None:
        """Show a text."""
        raise NotImplementedError


class TensorBoard(Service):
    """Tables are Markdown."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self.logger.experiment.add_image(tag, pixels, step, dataformats="HWC")

    def audio(self, tag: str, signal: np.ndarray, step: int, *, sample_rate: int) -> None:
        self.logger.experiment.add_audio(tag, signal[None], step, sample_rate=sample_rate)

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        lines = [columns, ["---"] * len(columns), *rows]
        cells = [["" if cell is None else str(cell).replace("|", "\\|") for cell in line] for line in lines]
        self.text(tag, "\n".join(f"| {' | '.join(line)} |" for line in cells), step)

    def text(self, tag: str, text: str, step: int) -> None:
        self.logger.experiment.add_text(tag, text, step)


class Wandb(Service):
    """Weights & Biases, online and offline."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self.logger.log_image(tag, [pixels], step=step)

    def audio(self, tag: str, signal: np.ndarray, step: int, *, sample_rate: int) -> None:
        self.logger.log_audio(tag, [signal], step=step, sample_rate=[sample_rate])

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        self.logger.log_table(tag, columns=list(columns), data=[list(row) for row in rows], step=step)

    def text(self, tag: str, text: str, step: int) -> None:
        self.table(tag, ["text"], [[text]], step)


class MLflow(Service):
    """Images by step; audio, tables (CSV) and texts as artifacts with the step in their name."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self._client.log_image(self.logger.run_id, pixels, key=self._path(tag), step=step, synchronous=True)

    def audio(self, tag: str, signal: np.ndarray, step: int, *, sample_rate: int) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"step={step}.wav")
            path.write_bytes(wav_bytes(signal, sample_rate))
            self._client.log_artifact(self.logger.run_id, str(path), self._path(tag))

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        self._client.log_text(self.logger.run_id, csv_text(columns, rows), f"{self._path(tag)}/step={step}.csv")

    def text(self, tag: str, text: str, step: int) -> None:
        self._client.log_text(self.logger.run_id, text, f"{self._path(tag)}/step={step}.txt")

    @property
    def _client(self) -> Any:
        return self.logger.experiment

    @staticmethod
    def _path(tag: str) -> str:
        return re.sub(r"[^\w\-. /]", "_", tag, flags=re.ASCII)  # it refuses others


class Comet(Service):
    """Comet, online and offline."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        self.logger.experiment.log_image(pixels, name=tag, step=step)

    def audio(self, tag: str, signal: np.ndarray, step: int, *, sample_rate: int) -> None:
        self.logger.experiment.log_audio(signal, sample_rate=sample_rate, file_name=f"{tag}.wav", step=step)

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        name = f"{tag.replace('/', '_')}_{step}.csv"
        self.logger.experiment.log_table(name, tabular_data=[list(row) for row in rows], headers=list(columns))

    def text(self, tag: str, text: str, step: int) -> None:
        self.logger.experiment.log_text(text, step=step, metadata={"name": tag})


class Neptune(Service):
    """Neptune's client of version 1; Lightning 2.6 has ended its logger, earlier releases have one."""

    def image(self, tag: str, pixels: np.ndarray, step: int) -> None:
        from neptune.types import File

        self.logger.experiment[tag].append(File.as_image(pixels), step=step)

    def audio(self, tag: str, signal: np.ndarray, step: int, *, sample_rate: int) -> None:
        self._upload(tag, wav_bytes(signal, sample_rate), step, extension="wav")

    def table(self, tag: str, columns: Sequence[str], rows: Sequence[Sequence[Any]], step: int) -> None:
        self._upload(tag, csv_text(columns, rows), step, extension="csv")

    def text(self, tag: str, text: str, step: int) -> None:
        self._upload(tag, text, step, extension="txt")

    def _upload(self, tag: str, content: str | bytes, step: int, *, extension: str) -> None:
        from neptune.types import File

        self.logger.experiment[f"{tag}/step={step}"].upload(File.from_content(content, extension=extension))


SERVICES: dict[str, type[Service]] = {
    "TensorBoardLogger": TensorBoard,
    "WandbLogger": Wandb,
    "MLFlowLogger": MLflow,
    "CometLogger": Comet,
    "NeptuneLogger": Neptune,
}


def service_of(logger: Any) -> Service | None:
    """A logger's `Service`, by its class or the nearest base that has one; None for one that takes numbers alone."""
    kinds = [SERVICES[base.__name__] for base in type(logger).__mro__ if base.__name__ in SERVICES]
    return kinds[0](logger) if kinds else None


def wav_bytes(signal: np.ndarray, sample_rate: int) -> bytes:
    """A signal [T] within [-1, 1] as a WAV file of 16-bit PCM."""
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, signal, sample_rate, format="WAV", subtype="PCM_16")
    return file.getvalue()


def csv_text(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table as CSV; None is an empty cell."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([columns, *rows])
    return text.getvalue()
