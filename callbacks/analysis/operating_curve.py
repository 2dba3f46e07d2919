"""The operating curve of a comparison: which system to take for a total rate, a limit of the delay and a channel."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lightning.pytorch import Callback, LightningModule, Trainer

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.channel.tables import aligned
from callbacks.figures.operating import operating_figure
from callbacks.metrics import SpeechMetric
from callbacks.metrics.base import decimals
from callbacks.metrics.checks import require
from callbacks.output.files import write_csv
from callbacks.output.loggers import log_folder, print_report, save_figure, show_table
from callbacks.scoring.differences import SAME_RATE
from callbacks.scoring.operating_points import Choice, OperatingPoint, choices, operating_points
from callbacks.scoring.scores import stated_clips


class OperatingCurve(Callback):
    """In `test` of a `codec.ComparisonModule`, ranks its systems for each channel by what they cost on the link.

    It takes the scores of `ChannelEvaluation`, on the same clips and draws for all systems. Writes
    `operating_points.csv` (all systems behind all channels, with Pareto's efficient ones), `operating_curve.csv` (the
    best for each limit of the rate) and a figure into the log folder, and prints the second as a table. The systems
    whose paired difference from the best leaves 0 inside its interval are named beside it: the clips do not tell them
    apart.

    Attributes:
        points: of the last test, as the next.
        choices: the best system for each channel and rate.

    Args:
        metric: name of the metric that ranks, one of those that are scored.
        rate_limits: total rates in bits a second, parity included; None for every rate that a system has.
        delay_limit_ms: largest delay of error correction, interleaving and concealment; None for any. The codec's own
            delay is not in it.

    Raises:
        InvalidValue: a limit that is no positive number, and at the start of the test a metric that is not scored or
            cannot rank, or a module that compares nothing.
    """

    def __init__(
        self,
        metric: str = "stoi",
        *,
        rate_limits: Sequence[float] | None = None,
        delay_limit_ms: float | None = None,
    ) -> None:
        require(
            rate_limits is None or bool(rate_limits), "rate_limits", [], "must be at least one rate, or null for all"
        )
        for limit in rate_limits or ():
            require(0 < limit < math.inf, "rate_limits", limit, "must be positive numbers of bits a second")
        positive = delay_limit_ms is None or 0 <= delay_limit_ms < math.inf
        require(positive, "delay_limit_ms", delay_limit_ms, "must be 0 or more milliseconds, or null for any delay")
        self.metric, self.rate_limits = metric, sorted(rate_limits) if rate_limits else None
        self.delay_limit_ms = math.inf if delay_limit_ms is None else float(delay_limit_ms)
        self.points: list[OperatingPoint] = []
        self.choices: list[Choice] = []

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Refuse what cannot be ranked before it is scored."""
        evaluation = channel_evaluation(trainer, self)
        self._metric(evaluation)
        systems = getattr(pl_module, "evaluated_systems", [])
        require(len(systems) > 1, "OperatingCurve compares systems", remedy="test a codec.ComparisonModule of several")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Rank, write and report; all ranks have the scores."""
        evaluation, folder = channel_evaluation(trainer, self), log_folder(trainer)
        if not evaluation.clip_scores or not trainer.is_global_zero:
            return
        metric = self._metric(evaluation)
        self.points = operating_points(evaluation.results, metric, delay_limit_ms=self.delay_limit_ms)
        by_system = {
            row.codec: [clip for clip in evaluation.clip_scores if clip.codec == row.codec]
            for row in evaluation.results
        }
        self.choices = choices(
            self.points,
            by_system,
            [channel.name for channel in evaluation.channels],
            metric,
            rate_limits=self.rate_limits or rates_of(self.points),
            delay_limit_ms=self.delay_limit_ms,
            bootstrap=evaluation.bootstrap,
        )
        folder.mkdir(parents=True, exist_ok=True)
        write_csv(folder / "operating_points.csv", self.points)
        if not self.choices:
            least = min(point.bit_rate for point in self.points), min(point.delay_ms for point in self.points)
            print_report(
                f"No system keeps the limits: the lowest rate is {least[0]:g} bit/s, the least delay {least[1]:g} ms."
            )
            (folder / "operating_curve.csv").unlink(missing_ok=True)
            return
        write_csv(folder / "operating_curve.csv", self.choices)
        first = evaluation.results[0]
        title = (
            f"{metric.label} over the rate on the channel, {stated_clips(first.clips, first.speakers)}{self._within()}"
        )
        figure = operating_figure(self.points, metric, title=title)
        save_figure(trainer, figure, folder / "channel" / "operating_curve", tag="channel/operating_curve")
        show_table(trainer, "channel/operating_curve", self.choices, step=trainer.global_step)
        print_report(
            "\n".join([f"The best system by {metric.label}{self._within()}", *aligned(self._table(metric), left=1)])
        )

    def _metric(self, evaluation: ChannelEvaluation) -> SpeechMetric:
        scored = {metric.name: metric for metric in evaluation.metrics}
        require(self.metric in scored, "metric", self.metric, f"must be one that is scored: {', '.join(scored)}")
        metric = scored[self.metric]
        require(metric.higher_is_better is not None, "metric", self.metric, "has no better and worse to rank by")
        return metric

    def _within(self) -> str:
        return "" if math.isinf(self.delay_limit_ms) else f", delay at most {self.delay_limit_ms:g} ms"

    def _table(self, metric: SpeechMetric) -> list[list[str]]:
        digits = decimals(metric.unit)
        head = ["channel", "at most", "best", "kbit/s", "delay (ms)", metric.label_with_unit, "minus the next"]
        head += ["not told apart", "cheapest of these"]
        table = [head]
        for choice in self.choices:
            gap = ""
            if choice.second:
                bounds = f"{choice.difference_low:+.{digits}f}, {choice.difference_high:+.{digits}f}"
                gap = f"{choice.difference:+.{digits}f} [{bounds}]"
            table.append([
                choice.channel,
                f"{choice.rate_limit / 1000:.3g} kbit/s",
                choice.best,
                f"{choice.bit_rate / 1000:.3g}",
                f"{choice.delay_ms:.0f}",
                f"{choice.mean:.{digits}f}",
                gap,
                str(choice.as_good.count("; ") + 1) if choice.as_good else "0",
                choice.saving,
            ])  # fmt: skip
        return table


def rates_of(points: Sequence[OperatingPoint]) -> list[float]:
    """The different rates of systems, lowest first; rates within 2 % are one, the highest of them."""
    limits: list[float] = []
    lowest = 0.0  # of the limit at hand
    for rate in sorted({point.bit_rate for point in points}):
        if limits and rate <= lowest * SAME_RATE:
            limits[-1] = rate
        else:
            limits.append(rate)
            lowest = rate
    return limits


def channel_evaluation(trainer: Trainer, caller: Callback) -> ChannelEvaluation:
    """The callback that scores.

    Raises:
        InvalidValue: there is none, whose scores the caller needs.
    """
    callbacks: list[Callback] = getattr(trainer, "callbacks", [])
    found = next((callback for callback in callbacks if isinstance(callback, ChannelEvaluation)), None)
    needs = f"{type(caller).__name__} needs the scores of callbacks.ChannelEvaluation"
    require(found is not None, needs, remedy="add that callback")
    assert found is not None
    return found
