"""The importance of each bit of a frame: score lost and displacement of the latent when that bit alone is flipped."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from callbacks.analysis.single_system import single_system
from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.channel.files import ClipAudio
from callbacks.channel.scorer import Clip
from callbacks.channel.tables import aligned, imputed_note
from callbacks.figures.sensitivity import loss_label, sensitivity_figure
from callbacks.metrics import SpeechMetric
from callbacks.metrics.base import decimals
from callbacks.metrics.checks import require
from callbacks.output.loggers import log_folder, print_report, save_figure, save_table
from callbacks.scoring.scores import paired_gaps, speaker_count, stated_clips, withheld
from callbacks.scoring.sensitivity import Sensitivity
from codec.channels import BinarySymmetricChannel, SelectedBitsChannel
from codec.channels.link import Link, bit_displacements
from codec.layers.ranks import gather_objects


class BitSensitivity(ChannelEvaluation):
    """In `test`, flips the bits of each position, dimension or codebook alone, and scores the decoded signals.

    Writes `sensitivity.csv` and a figure, and prints a table, bits with the largest displacement of the latent first:
    the order for unequal error protection (`Link.protected_bits`). With a permuted index assignment, a dimension has
    no bits of its own and is left out.

    Args:
        flip_rate: Probability with which each bit of the position, dimension or codebook is flipped, in each frame.
        link: Index assignment and concealment for the module's codec, without error correction.
        clips: Number of clips to score, those whose ids hash lowest; None for all.
        metrics: What to measure; `default_metrics()` if None.
        repeats: Draws per clip and part.
        seed: Seed of the draws and of the bootstrap.
        num_workers: Scoring processes of this rank; None for its share of the cores, 0 to score in this process.
        bootstrap: Number of resamples for the intervals.
        confidence: Probability mass of the intervals.

    Raises:
        InvalidValue: A number is out of range, there are several systems, or the link has error correction.
    """

    def __init__(
        self,
        flip_rate: float = 0.1,
        link: Link | None = None,
        *,
        clips: int | None = 16,
        metrics: list[SpeechMetric] | None = None,
        repeats: int = 1,
        seed: int = 0,
        num_workers: int | None = None,
        bootstrap: int = 2000,
        confidence: float = 0.95,
    ) -> None:
        super().__init__(
            bit_error_rates=(0.0,),
            link=link,
            metrics=metrics,
            repeats=repeats,
            seed=seed,
            fit_clips=0,
            audio_clips=0,
            num_workers=num_workers,
            bootstrap=bootstrap,
            confidence=confidence,
        )
        self.flips = BinarySymmetricChannel(flip_rate)
        self.clips = clips
        self.parts: dict[str, list[int]] = {}
        self.sensitivities: list[Sensitivity] = []
        self._codes: list[tuple[str, Tensor]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage != "test":
            return
        system, _ = single_system(self, pl_module, self.link)
        connection = system.connection
        require(
            connection.link.code is None,
            "BitSensitivity flips payload bits",
            remedy="take the error correction (`code`) out of its link",
        )
        self.parts = {f"bit {bit}": [bit] for bit in range(connection.bits_per_frame)} | connection.bit_groups()
        self.channels = [BinarySymmetricChannel(0.0)]
        self.channels += [SelectedBitsChannel(self.flips, bits) for bits in self.parts.values()]
        super().setup(trainer, pl_module, stage)

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._active = False

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        super().on_test_epoch_start(trainer, pl_module)
        self._codes = []

    def _score(self, clip: Clip) -> None:
        super()._score(clip)
        self._codes.append((clip.clip_id, next(iter(clip.codes.values()))))

    def _limit(self, trainer: Trainer) -> int | None:
        return self.clips

    def _report(self, trainer: Trainer, pl_module: LightningModule, audio: list[ClipAudio]) -> None:
        codes = sorted(chain(*gather_objects(self._codes)), key=lambda entry: entry[0])
        if codes:
            self.sensitivities = self._losses(torch.cat([found for _, found in codes], -1))
        folder = log_folder(trainer)
        if not trainer.is_global_zero or not self.clip_scores:
            return
        folder.mkdir(parents=True, exist_ok=True)
        save_table(trainer, self.sensitivities, folder / "sensitivity.csv", tag="sensitivity/losses")
        over = stated_clips(len(self.clip_scores), speaker_count(self.clip_scores))
        title = f"Bits of one part flipped with probability {self.flips.error_rate:g}: mean over {over}"
        figure = sensitivity_figure(self.sensitivities, self.metrics, title=title)
        save_figure(trainer, figure, folder / "sensitivity", tag="sensitivity")
        print_report(format_sensitivities(self.sensitivities, self.metrics, title=title))

    def _losses(self, codes: Tensor) -> list[Sensitivity]:
        """A row for each part and metric; `codes` [1, K, F] are those of all clips."""
        some = codes[..., :: max(1, codes.shape[-1] // 4096)]
        displacements = bit_displacements(self.systems[0].connection, some).tolist()
        rows = []
        for metric in self.metrics:
            sign = 1 if metric.higher_is_better else -1
            clips, flipped = self.clip_scores, range(1, len(self.channels))  # channel 0 is without flips
            found = [paired_gaps(clips, clips, c, metric, other_channel=0) for c in flipped]
            why = [withheld(clips, c, metric, self.metrics) for c in range(len(self.channels))]
            reasons = [why[0] or reason for reason in why[1:]]
            losses = np.stack([-sign * gaps for gaps, _ in found])  # [parts, clips]
            losses[[bool(reason) for reason in reasons]] = np.nan
            interval = self.bootstrap.means(losses, [clip.speaker for clip in clips])
            for i, (part, bits) in enumerate(self.parts.items()):
                rows.append(
                    Sensitivity(
                        part=part,
                        bits=" ".join(map(str, bits)),
                        flip_rate=self.flips.error_rate,
                        metric=metric.name,
                        loss=float(interval.mean[i]),
                        low=float(interval.low[i]),
                        high=float(interval.high[i]),
                        displacement=sum(displacements[bit] for bit in bits) / len(bits),
                        pairs=len(clips) if np.isfinite(losses[i]).all() else 0,
                        unpaired=len(clips) * self.repeats - found[i][1],
                        withheld=reasons[i],
                    )
                )
        return rows


def format_sensitivities(rows: list[Sensitivity], metrics: list[SpeechMetric], *, title: str) -> str:
    """Parts as lines, bits by falling displacement of the latent, metrics as columns."""
    lines: dict[str, dict[str, Sensitivity]] = {}
    for row in rows:
        lines.setdefault(row.part, {})[row.metric] = row
    table = [["part", "bits", "displacement", *(loss_label(m) for m in metrics)]]
    parts = list(lines)
    singles = sorted((p for p in parts if p.startswith("bit ")), key=lambda p: -lines[p][metrics[0].name].displacement)
    for part in [*singles, *(p for p in parts if not p.startswith("bit "))]:
        first = lines[part][metrics[0].name]
        cells = []
        for metric in metrics:
            row = lines[part][metric.name]
            digits = max(2, decimals(metric.unit))  # also for dB: losses are small
            loss = "–" if row.withheld else "none" if np.isnan(row.loss) else f"{row.loss:.{digits}f}"
            loss += "" if np.isnan(row.low) else f" ±{(row.high - row.low) / 2:.{digits}f}"
            cells.append(f"{loss} [{row.unpaired}]" if row.unpaired else loss)
        table.append([part, spans(first.bits), f"{first.displacement:.3f}", *cells])
    notes = [f"–: {reason}." for reason in dict.fromkeys(row.withheld for row in rows if row.withheld)]
    notes += imputed_note(metrics, {row.metric for row in rows if row.unpaired})
    return "\n".join([title, *aligned(table, left=2), *notes])


def spans(bits: str) -> str:
    """Positions such as "0 1 2 5" as "0-2, 5"."""
    numbers = [int(bit) for bit in bits.split()]
    starts = [n for i, n in enumerate(numbers) if i == 0 or numbers[i - 1] != n - 1]
    ends = [a for a, b in pairwise(numbers) if b != a + 1] + numbers[-1:]
    return ", ".join(f"{a}" if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True))
