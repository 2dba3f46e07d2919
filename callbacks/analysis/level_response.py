"""How loud a codec's output is, by how loud its input is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.channel.evaluation_callback import EvaluationCallback
from callbacks.channel.tables import aligned
from callbacks.figures.levels import response_figure
from callbacks.metrics import LevelDifference, Unscorable
from callbacks.metrics.checks import require
from callbacks.output.files import write_csv
from callbacks.output.loggers import log_folder, print_report, save_figure
from callbacks.scoring.bootstrap import Bootstrap
from codec.layers.ranks import gather_objects
from codec.training.comparison_module import EvaluatedSystem, decode_at, encode_at, evaluated_systems


class LevelRow(NamedTuple):
    """The level difference of output and input at one input level.

    Attributes:
        codec: name of the system; empty where the module has one codec.
        level: of the input's peak, as text ("-20 dBFS").
        peak_dbfs: the same as a number.
        mean: over the clips, in dB; `low` and `high` bound its interval over speakers.
        scored: number of clips with a value.
        unscorable: number of clips without one (silence).
    """

    codec: str
    level: str
    peak_dbfs: float
    mean: float
    low: float
    high: float
    scored: int
    unscorable: int


class LevelResponse(EvaluationCallback):
    """In `test`, codes each clip at several levels, without a channel, and measures how loud the output is.

    Writes `levels.csv` and a figure into the log folder, and prints a table: power of the output over that of the
    input in dB (`LevelDifference`), 0 for a codec that keeps levels.

    Attributes:
        results: the rows.

    Args:
        peaks_dbfs: levels to which the clips' peaks are brought, in dB below full scale.
        clips: number of clips, the first of each rank; None for all.
        bootstrap: number of resamples for the intervals.
        confidence: probability mass of the intervals.

    Raises:
        InvalidValue: no level, or one above full scale.
    """

    def __init__(
        self,
        peaks_dbfs: Sequence[float] = (0.0, -10.0, -20.0, -30.0, -40.0),
        *,
        clips: int | None = None,
        bootstrap: int = 2000,
        confidence: float = 0.95,
    ) -> None:
        valid = bool(peaks_dbfs) and all(-120 <= peak <= 0 for peak in peaks_dbfs)
        require(valid, "peaks_dbfs", list(peaks_dbfs), "must be at least one level from -120 to 0 dBFS")
        self.peaks_dbfs, self.clips = list(peaks_dbfs), clips
        self.bootstrap = Bootstrap(bootstrap, confidence).checked()
        self.metric = LevelDifference()
        self.results: list[LevelRow] = []
        self._systems: list[EvaluatedSystem] = []
        self._rates = 1, 1  # of the input and of scoring, in Hz
        self._found: list[tuple[str, str, np.ndarray]] = []  # id, speaker, differences [systems, levels]

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure in `test` alone."""

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        module: Any = pl_module
        systems, rate = evaluated_systems(pl_module, None)
        self._rates = getattr(module, "sample_rate", None) or module.codec.sample_rate, rate
        self._systems = list({id(system.codec): system for system in reversed(systems)}.values())[::-1]
        self._found = []

    def _evaluate(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor | Mapping[str, Any] | None, batch: Any
    ) -> None:
        if not self._systems or (self.clips is not None and len(self._found) >= self.clips):
            return
        audio, reference = batch["audio"], batch.get("target", batch["audio"])
        peak = audio.abs().max().clamp_min(1e-9)
        differences = np.full((len(self._systems), len(self.peaks_dbfs)), np.nan)
        for level, peak_dbfs in enumerate(self.peaks_dbfs):
            factor = 10 ** (peak_dbfs / 20) / peak
            for number, system in enumerate(self._systems):
                output = self._coded(system, audio * factor, length=reference.shape[-1])
                wanted = (reference * factor)[0, 0].float().cpu().numpy()
                try:
                    differences[number, level] = self.metric(wanted, output, self._rates[1])
                except Unscorable:
                    continue
        self._found.append((batch["id"][0], batch.get("speaker", [""])[0], differences))

    def _coded(self, system: EvaluatedSystem, audio: Tensor, *, length: int) -> np.ndarray:
        """What a codec makes of audio `[1, 1, T]`: `[length]` at the scoring rate."""
        codec = system.codec
        with torch.no_grad():
            latents = codec.quantizer.decode(encode_at(codec, audio, self._rates[0]))
            return decode_at(codec, latents, self._rates[1], length=length)[0, 0].float().cpu().numpy()

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Average over the clips of all ranks, write and report; all ranks issue the same collectives."""
        if not self._systems:
            return
        found = sorted(chain(*gather_objects(self._found)), key=lambda entry: entry[0])
        names, self._systems, folder = [system.name for system in self._systems], [], log_folder(trainer)
        if not found or not trainer.is_global_zero:
            return
        self.results = self._rows(names, found)
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "levels.csv", self.results)
        title = f"Level of the output over that of the input: mean over {len(found)} clip{'s' * (len(found) != 1)}"
        save_figure(trainer, response_figure(self.results, title=title), folder / "levels", tag="levels")
        print_report("\n".join([f"{title}, in dB, by the input's peak", *aligned(self._table(), left=1)]))

    def _rows(self, names: Sequence[str], found: Sequence[tuple[str, str, np.ndarray]]) -> list[LevelRow]:
        values = np.stack([differences for *_, differences in found], -1)  # [systems, levels, clips]
        speakers = [speaker for _, speaker, _ in found]
        clusters = speakers if all(speakers) else None
        rows = []
        for name, of_system in zip(names, values, strict=True):
            for peak, differences in zip(self.peaks_dbfs, of_system, strict=True):
                scored = np.isfinite(differences)
                kept = None if clusters is None else [s for s, there in zip(clusters, scored, strict=True) if there]
                interval = self.bootstrap.means(differences[scored][None], kept) if scored.any() else None
                mean, low, high = (float(v[0]) for v in interval) if interval is not None else (np.nan,) * 3
                count = int(scored.sum())
                rows.append(LevelRow(name, f"{peak:g} dBFS", peak, mean, low, high, count, len(scored) - count))
        return rows

    def _table(self) -> list[list[str]]:
        names = list(dict.fromkeys(row.codec for row in self.results))
        table = [["codec", *(f"{peak:g} dBFS" for peak in self.peaks_dbfs)]]
        for name in names:
            cells = [f"{row.mean:+.1f}" for row in self.results if row.codec == name]
            table.append([name or "output", *cells])
        return table
