"""The comparison of a student and its teacher as tables for the terminal, `agreement.csv` and `agreement.json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from callbacks.analysis.agreement_counts import AgreementRow, ClipAgreement
from callbacks.analysis.cost import EncoderCost
from callbacks.channel.tables import aligned, format_differences, mean_text, score_notes
from callbacks.metrics import SpeechMetric
from callbacks.output.files import without_nan, write_csv, write_json
from callbacks.scoring.differences import Difference
from callbacks.scoring.scores import ChannelRow
from codec.errors import counted


class Report(NamedTuple):
    """Results of `AgreementReport`: agreement, scores of both, student minus teacher, costs, counts of each clip."""

    agreement: list[AgreementRow]
    scores: list[ChannelRow]
    differences: list[Difference]
    costs: list[EncoderCost]
    clips: list[ClipAgreement]


def write_report(folder: Path, report: Report) -> None:
    """Write `agreement.csv` (figure, measured, chance) and `agreement.json` (everything) into an existing folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "agreement.csv", report.agreement)
    document = {
        "frames": sum(clip.frames for clip in report.clips),
        "clips": [
            {"id": c.clip_id, "frames": c.frames, "exact": c.exact, "equal": c.equal.tolist(), "near": c.near.tolist(),
             "cosine": c.cosine / c.frames}
            for c in report.clips
        ],
        **{name: without_nan(getattr(report, name)) for name in ("agreement", "scores", "differences", "costs")},
    }  # fmt: skip
    write_json(folder / "agreement.json", document)


def format_report(report: Report, metrics: Sequence[SpeechMetric], *, confidence: float) -> str:
    """The terminal's table."""
    frames = sum(clip.frames for clip in report.clips)
    if not frames:
        return "Agreement of student and teacher: no clips."
    table = [["figure", "measured", "chance"], *([r.figure, _share(r, r.measured), _share(r, r.chance)]
                                                 for r in report.agreement)]  # fmt: skip
    lines = [f"Agreement of student and teacher over {frames:,} frames of {counted(len(report.clips), 'clip')}:"]
    lines += aligned(table, left=1)
    if report.scores:
        lines += ["", "Scores of both on these clips:", *aligned(_scores(report.scores, metrics), left=2)]
        lines += score_notes(report.scores, metrics)
        lines += ["", format_differences(report.differences, metrics, confidence=confidence)]
    if report.costs:
        lines += ["", "Encoders, timed in turns:", *aligned(_costs(report.costs), left=1)]
    return "\n".join(lines)


def _share(row: AgreementRow, value: float) -> str:
    if math.isnan(value):
        return "none"
    return f"{value:.2f}" if row.figure.startswith("cosine") else f"{100 * value:.3g} %"


def _scores(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric]) -> list[list[str]]:
    lines: dict[tuple[str, str], dict[str, str]] = {}
    channels = list(dict.fromkeys(row.channel for row in rows))
    for row in sorted(rows, key=lambda row: channels.index(row.channel)):  # stable: teacher before student
        missing = f" [{row.unscorable}]" if row.unscorable else ""
        lines.setdefault((row.channel, row.codec), {})[row.metric] = mean_text(row, 3) + missing
    head = ["channel", "codec", *(metric.label for metric in metrics)]
    return [head, *([*key, *(found[metric.name] for metric in metrics)] for key, found in lines.items())]


def _costs(costs: Sequence[EncoderCost]) -> list[list[str]]:
    table = [["encoder", "parameters", "MMAC per second", "real-time factor", "parameters : first", "speed : first"]]
    first = costs[0]
    for cost in costs:
        table.append(
            [
                cost.encoder,
                f"{cost.parameters:,}",
                f"{cost.macs_per_second / 1e6:,.1f}",
                f"{cost.real_time_factor:.2g}",
                f"1 : {first.parameters / cost.parameters:.1f}",
                f"{first.real_time_factor / cost.real_time_factor:.1f} x",
            ]
        )
    return table
