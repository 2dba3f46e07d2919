"""How a distilled student compares with its teacher: codes, scores and cost, after NeuCodec (arXiv 2509.09550)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from callbacks.analysis.agreement_counts import AgreementRow, ClipAgreement, count_agreement, summarise_agreement
from callbacks.analysis.agreement_tables import Report, format_report, write_report
from callbacks.analysis.cost import EncoderCost, encoder_costs
from callbacks.channel.evaluation_callback import EvaluationCallback
from callbacks.channel.scorer import ChannelScorer, check_unique, clip_of
from callbacks.channel.transmission import channels_to_score
from callbacks.metrics import PESQ, STOI, SpeechMetric
from callbacks.output.loggers import log_folder, log_scalars, print_report, show_table
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import Difference, compare
from callbacks.scoring.pool import default_workers
from callbacks.scoring.scores import ChannelRow
from codec.channels import Channel
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.layers.ranks import gather_objects
from codec.training.comparison_module import EvaluatedSystem

NAMES = ("teacher", "student")


class AgreementReport(EvaluationCallback):
    """Compares the module's `codec` with its `teacher` on every evaluated clip; both share quantizer and decoder.

    In `fit`, each validation logs how far the codes agree (`agreement/same_level` and the like). `validate` and `test`
    also score both on the same clips and channel draws, with paired differences, and measure what both encoders cost;
    they print a table and write `agreement.json` and `agreement.csv` into the log folder. Figures are over the clips of
    all ranks and do not depend on the number of ranks. Evaluation batches are those of
    `ChannelEvaluation`.

    Args:
        bit_error_rates: of the binary symmetric channels.
        channels: further channels.
        metrics: what to measure; PESQ and STOI if None.
        repeats: draws per clip and channel.
        seed: of the draws and intervals.
        num_workers: scoring processes of this rank; None for its share of the cores, 0 to score in this process.
        bootstrap: number of resamples for the intervals.
        confidence: probability mass of the intervals.
        cost_seconds: duration in seconds of the clip on which costs are measured; 0 for no measurement.
        cost_repeats: timings of each encoder.

    Raises:
        InvalidValue: channels share a name, or the module has no `teacher`.
    """

    def __init__(
        self,
        bit_error_rates: tuple[float, ...] = (0.0, 0.01, 0.1),
        channels: list[Channel] | None = None,
        *,
        metrics: list[SpeechMetric] | None = None,
        repeats: int = 1,
        seed: int = 0,
        num_workers: int | None = None,
        bootstrap: int = 2000,
        confidence: float = 0.95,
        cost_seconds: float = 4.0,
        cost_repeats: int = 15,
    ) -> None:
        self.channels = channels_to_score(bit_error_rates, channels)
        self.metrics = [PESQ(), STOI()] if metrics is None else metrics
        self.repeats, self.seed, self.num_workers = repeats, seed, num_workers
        self.bootstrap = Bootstrap(bootstrap, confidence, seed).checked()
        self.cost_seconds, self.cost_repeats = cost_seconds, cost_repeats
        self.agreement: list[AgreementRow] = []
        self.report: Report | None = None
        self._clips: list[ClipAgreement] = []
        self._scorer: ChannelScorer | None = None
        self._systems: list[EvaluatedSystem] = []
        self._threads = torch.get_num_threads()
        self._checkpoint_step = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        codecs_of(pl_module)
        if stage in ("validate", "test") and self.channels:
            workers = default_workers(trainer.num_devices) if self.num_workers is None else self.num_workers
            settings = {"repeats": self.repeats, "seed": self.seed, "decode_batch": 8}
            self._scorer = ChannelScorer(
                self.channels, self.metrics, num_workers=workers, audio_clips=0, audio_channels=1, **settings
            )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._checkpoint_step = checkpoint.get("global_step", 0)

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._clips, self._threads = [], torch.get_num_threads()
        self._systems = [EvaluatedSystem(name, codec) for name, codec in codecs_of(pl_module).items()]

    def _evaluate(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor | Mapping[str, Any] | None, batch: Any
    ) -> None:
        if trainer.sanity_checking:
            return
        teacher, student = codecs_of(pl_module).values()
        found = outputs.get("codes") if isinstance(outputs, Mapping) else None
        with torch.no_grad():
            codes = {
                "teacher": teacher.encode(batch["audio"]),
                "student": student.encode(batch["audio"]) if found is None else found,
            }
        clip = clip_of(batch, {"codes": codes}, self._systems, sample_rate=student.sample_rate)
        self._clips.append(count_agreement(clip.clip_id, student.quantizer, codes["teacher"], codes["student"]))
        if self._scorer is not None:
            self._scorer.add(self._systems, clip, sample_rate=student.output_sample_rate)

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Gather over ranks and report; all ranks issue the same collectives."""
        if trainer.sanity_checking:
            return
        clips = sorted(chain(*gather_objects(self._clips)), key=lambda clip: clip.clip_id)
        check_unique(clip.clip_id for clip in clips)
        self.agreement = summarise_agreement(clips, codecs_of(pl_module)["student"].quantizer, seed=self.seed)
        values = {f"agreement/{row.figure.replace(' ', '_').replace(',', '')}": row.measured for row in self.agreement}
        step = trainer.global_step if trainer.state.fn == TrainerFn.FITTING else self._checkpoint_step
        log_scalars(trainer, values, step=step)
        if trainer.state.fn != TrainerFn.FITTING:
            self._report(trainer, pl_module, clips)

    def _report(self, trainer: Trainer, pl_module: LightningModule, clips: list[ClipAgreement]) -> None:
        scored = self._scorer.collect()[0] if self._scorer is not None else []
        gathered = sorted(chain(*gather_objects(scored)), key=lambda clip: clip.clip_id)
        torch.set_num_threads(self._threads)  # the scorers may have changed it
        folder = log_folder(trainer)
        scores = {name: [clip for clip in gathered if clip.codec == name] for name in NAMES}
        rows: list[ChannelRow] = []
        gaps: list[Difference] = []
        if gathered:
            rows, gaps = compare(scores, self.channels, self.metrics, repeats=self.repeats, bootstrap=self.bootstrap)
        if trainer.is_global_zero:
            self.report = Report(self.agreement, rows, gaps, self._costs(pl_module), clips)
            write_report(folder, self.report)
            show_table(trainer, "agreement", self.report.agreement, step=trainer.global_step)
            tables = format_report(self.report, self.metrics, confidence=self.bootstrap.confidence)
            print_report(tables, f"Every clip's counts: {folder / 'agreement.json'}.")

    def _costs(self, pl_module: LightningModule) -> list[EncoderCost]:
        if self.cost_seconds == 0:
            return []
        codecs = codecs_of(pl_module)
        return encoder_costs(
            {name: codec.encoder for name, codec in codecs.items()},
            sample_rate=codecs["student"].sample_rate,
            seconds=self.cost_seconds,
            repeats=self.cost_repeats,
        )

    def _close(self) -> None:
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None


def codecs_of(module: LightningModule) -> dict[str, NeuralCodec]:
    """The module's teacher and student.

    Raises:
        InvalidValue: the module has no teacher.
    """
    teacher, student = getattr(module, "teacher", None), getattr(module, "codec", None)
    if not isinstance(teacher, NeuralCodec) or not isinstance(student, NeuralCodec):
        raise InvalidValue(
            "module",
            type(module).__name__,
            "has no teacher for AgreementReport",
            "use it with codec.DistillationModule",
        )
    return {"teacher": teacher, "student": student}
