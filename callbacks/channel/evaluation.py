"""Scores what a codec decodes behind noisy channels, after NeuCodec (arXiv 2509.09550)."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from callbacks.channel.document import evaluation_facts
from callbacks.channel.evaluation_callback import EvaluationCallback
from callbacks.channel.files import ClipAudio, Scored, results_folder, show_results, write_results
from callbacks.channel.rates import format_rates, rates_of
from callbacks.channel.scorer import ChannelScorer, Clip, check_unique, clip_of, hash_order
from callbacks.channel.tables import format_differences, format_table
from callbacks.channel.transmission import channels_to_score
from callbacks.metrics import SpeechMetric, default_metrics
from callbacks.metrics.checks import require, require_at_least, require_unique
from callbacks.output.loggers import log_folder, log_scalars, print_report, publish
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import Difference, compare
from callbacks.scoring.pool import default_workers
from callbacks.scoring.scores import ChannelRow, ClipScores, logged_values
from codec.channels import Channel
from codec.channels.link import Link
from codec.layers.ranks import gather_objects
from codec.training.comparison_module import EvaluatedSystem, evaluated_systems


class ChannelEvaluation(EvaluationCallback):
    """Sends every evaluated clip through each channel and scores the decoded signals.

    The encoder runs once per clip (the step's `"codes"` are reused), equal receptions are decoded and scored once, and
    worker processes score one clip while the next is decoded. A draw depends only on the seed, the clip's id, the
    channel's family and the repeat, so scores do not depend on ranks, batches or order.

    `validate` and `test` score every clip; in `fit`, validation scores the `fit_clips` clips whose ids hash lowest,
    the same ones for any number of ranks; its sanity check is not scored. Evaluation batches hold one whole clip:
    `audio` [1, 1, T], `id` [one string], `speaker` [one string] where known, and `target` [1, 1, T'] where the output
    rate differs; or several, padded, with `lengths` and `target_lengths` (`data.clips_per_batch`), scored one by one.

    The systems of a comparison (`codec.ComparisonModule`) are scored on the same clips and draws; the baseline of each
    is the first system of its bit rate, and differences from it are paired. Intervals are over speakers where known,
    else over clips. A draw without a score counts with the metric's worst value, or the mean is none.

    Results: `results` (rows), `differences`, loggers and, in `fit`, `trainer.callback_metrics` under names such as
    `channel/stoi/ber_0.01`; a table on the terminal; `channel.csv`, `channel.json` and a folder `channel/` with
    figures and audio in the log folder; each evaluation replaces them.

    Args:
        channels: Channels to score in addition to those of `bit_error_rates`.
        link: Index assignment, error correction and concealment for the module's codec; in a comparison each system
            has its own.
        bit_error_rates: One `BinarySymmetricChannel` is scored for each of them.
        metrics: What to measure; `default_metrics()` if None.
        repeats: Draws per clip and channel.
        seed: Seed of the channel draws and of the bootstrap.
        fit_clips: Number of clips to score when validating in `fit`; None for all, 0 for none.
        fit_every_n_validations: In `fit`, score the first and then every n-th validation; the others repeat the last
            values in `trainer.callback_metrics`, where a checkpoint callback finds what it monitors.
        audio_clips: Number of clips whose audio and spectrograms are kept.
        audio_channels: Number of channels whose audio and spectrograms are kept, spread evenly over all, the first
            included.
        num_workers: Scoring processes of this rank; None for its share of the cores, 0 to score in this process.
        decode_batch: Number of receptions decoded at once.
        bootstrap: Number of resamples for the intervals.
        confidence: Probability mass of the intervals.

    Raises:
        InvalidValue: There is no channel, two have one name, or a number is out of range.
    """

    def __init__(
        self,
        channels: list[Channel] | None = None,
        link: Link | None = None,
        *,
        bit_error_rates: tuple[float, ...] = (0.0, 0.001, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
        metrics: list[SpeechMetric] | None = None,
        repeats: int = 1,
        seed: int = 0,
        fit_clips: int | None = 8,
        fit_every_n_validations: int = 1,
        audio_clips: int = 3,
        audio_channels: int = 4,
        num_workers: int | None = None,
        decode_batch: int = 8,
        bootstrap: int = 2000,
        confidence: float = 0.95,
    ) -> None:
        self.channels = channels_to_score(bit_error_rates, channels)
        require_unique("channels", [channel.name for channel in self.channels])
        require_at_least(1, repeats=repeats, fit_every_n_validations=fit_every_n_validations)
        require_at_least(1, audio_channels=audio_channels, decode_batch=decode_batch)
        require_at_least(0, fit_clips=fit_clips, audio_clips=audio_clips, num_workers=num_workers)
        require_at_least(0, seed=seed, bootstrap=bootstrap)
        require(0 < confidence < 1, "confidence", confidence, "must lie between 0 and 1")
        self.link = link
        self.metrics = default_metrics() if metrics is None else metrics
        self.repeats, self.seed = repeats, seed
        self.fit_clips, self.fit_every_n_validations = fit_clips, fit_every_n_validations
        self.audio_clips, self.audio_channels = audio_clips, audio_channels
        self.num_workers, self.decode_batch = num_workers, decode_batch
        self.bootstrap = Bootstrap(bootstrap, confidence, seed).checked()
        self.results: list[ChannelRow] = []  # of the last evaluation, as the next two
        self.differences: list[Difference] = []
        self.clip_scores: list[ClipScores] = []
        self.systems: list[EvaluatedSystem] = []
        self._sample_rate = 0
        self._scorer: ChannelScorer | None = None
        self._active = False  # whether this validation or test is scored
        self._waiting: list[Clip] = []  # under a limit: the clips to score when all have been seen
        self._validations = 0
        self._values: dict[str, float] = {}
        self._checkpoint_step: int | None = None

    # Lightning's hooks, in the order in which they run.

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        if stage == "predict":
            return
        workers = default_workers(trainer.num_devices) if self.num_workers is None else self.num_workers
        self._scorer = ChannelScorer(
            self.channels,
            self.metrics,
            num_workers=workers,
            repeats=self.repeats,
            seed=self.seed,
            decode_batch=self.decode_batch,
            audio_clips=self.audio_clips,
            audio_channels=self.audio_channels,
        )

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        self._checkpoint_step = checkpoint.get("global_step")

    def _start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._active, self._waiting = not trainer.sanity_checking, []
        if self._active and trainer.state.fn == TrainerFn.FITTING:
            self._active = self.fit_clips != 0 and self._validations % self.fit_every_n_validations == 0
            self._validations += 1
        self._connect(pl_module)

    def state_dict(self) -> dict[str, Any]:
        return {"validations": self._validations, "values": self._values}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._validations = state_dict["validations"]
        self._values = state_dict["values"]

    # Scoring and reporting.

    def _evaluate(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Tensor | Mapping[str, Any] | None, batch: Any
    ) -> None:
        """Score the clip of one batch now, or under a limit keep it if its id is among the lowest so far."""
        if not self._active:
            return
        assert self._scorer is not None
        clip = clip_of(batch, outputs, self.systems, sample_rate=self._input_rate(pl_module))
        limit = self._limit(trainer)
        if limit is not None:
            self._waiting = sorted([*self._waiting, clip], key=lambda clip: hash_order(clip.clip_id))[:limit]
        else:
            self._score(clip)

    def _score(self, clip: Clip) -> None:
        """Send and decode a clip of this rank, and queue the signals for scoring."""
        assert self._scorer is not None
        self._scorer.add(self.systems, clip, sample_rate=self._sample_rate)

    def _connect(self, pl_module: LightningModule) -> None:
        """Fit links to the codecs as they are now, since training moves learned codebooks."""
        if self._active:
            self.systems, self._sample_rate = evaluated_systems(pl_module, self.link)

    def _input_rate(self, pl_module: LightningModule) -> int:
        module: Any = pl_module
        return module.sample_rate if hasattr(module, "sample_rate") else module.codec.sample_rate

    def _limit(self, trainer: Trainer) -> int | None:
        """Number of clips to score, None for all."""
        return self.fit_clips if trainer.state.fn == TrainerFn.FITTING else None

    def _finish(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the clips kept under a limit, gather over ranks and report; all ranks issue the same collectives."""
        if not self._active:
            if trainer.state.fn == TrainerFn.FITTING and not trainer.sanity_checking:
                publish(pl_module, self._values)
            return
        assert self._scorer is not None
        self._active = False
        limit = self._limit(trainer)
        if limit is not None:
            waiting = {clip.clip_id: clip for clip in self._waiting}
            chosen = sorted(chain(*gather_objects(list(waiting))), key=hash_order)[:limit]
            for clip_id in chosen:
                if clip_id in waiting:
                    self._score(waiting[clip_id])
            self._waiting = []
        gathered = gather_objects(self._scorer.collect())
        self.clip_scores = sorted(chain(*(scores for scores, _ in gathered)), key=lambda clip: clip.clip_id)
        by_codec = self._by_codec()
        for scores in by_codec.values():
            check_unique(clip.clip_id for clip in scores)
        self.results, self.differences = compare(
            by_codec, self.channels, self.metrics, repeats=self.repeats, bootstrap=self.bootstrap
        )
        self._report(trainer, pl_module, self._scorer.first_audio(chain(*(audio for _, audio in gathered))))

    def _by_codec(self) -> dict[str, list[ClipScores]]:
        return {c.name: [s for s in self.clip_scores if s.codec == c.name] for c in self.systems}

    def _report(self, trainer: Trainer, pl_module: LightningModule, audio: list[ClipAudio]) -> None:
        fitting = trainer.state.fn == TrainerFn.FITTING
        step = trainer.global_step if fitting else self._checkpoint_step or trainer.global_step
        self._values = logged_values(self.results, self.metrics)
        if fitting:
            publish(pl_module, self._values)
        log_scalars(trainer, self._values, step=step)
        folder = log_folder(trainer)
        if not trainer.is_global_zero:
            return
        settings = {
            "channels": [channel.name for channel in self.channels],
            "metrics": [metric.name for metric in self.metrics],
            "repeats": self.repeats,
            "seed": self.seed,
            "bootstrap": self.bootstrap.resamples,
            "confidence": self.bootstrap.confidence,
        }
        stage = str(getattr(trainer.state.fn, "value", ""))
        rates = rates_of(self.systems, self._by_codec())
        facts = evaluation_facts(self.systems, settings, rates, stage=stage, step=step, sample_rate=self._sample_rate)
        scores = Scored(self.results, self.differences, self.clip_scores)
        folder = results_folder(folder, stage)
        figures = write_results(folder, scores, audio, metrics=self.metrics, facts=facts)
        show_results(trainer, scores, figures, audio, sample_rate=self._sample_rate, step=step)
        confidence = self.bootstrap.confidence
        paragraphs = [format_table(self.results, self.metrics, confidence=confidence)]
        if self.differences:
            paragraphs.append(format_differences(self.differences, self.metrics, confidence=confidence))
        if not fitting:
            paragraphs += [format_rates(rates)] if rates else []
            paragraphs.append(
                f"Every clip's scores: {folder / 'channel.json'}; figures and audio: {folder / 'channel'}."
            )
        print_report(*paragraphs)

    def _close(self) -> None:
        self._active = False
        self._waiting = []
        if self._scorer is not None:
            self._scorer.close()
