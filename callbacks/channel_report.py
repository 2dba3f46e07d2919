"""Channel scores as a table for the terminal, and as `channel.csv` and `channel.json`."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from callbacks.channel_scores import ChannelRow, ClipScores
from callbacks.metrics import SpeechMetric

CSV_COLUMNS = tuple(column for column in ChannelRow._fields if column != "reasons")


def write_csv(path: Path, rows: Sequence[ChannelRow]) -> None:
    """One line per channel and metric; the columns are `ChannelRow`'s fields, empty where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(CSV_COLUMNS)
        for row in rows:
            cells = (getattr(row, column) for column in CSV_COLUMNS)
            writer.writerow("" if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells)


def write_json(
    path: Path, rows: Sequence[ChannelRow], clips: Sequence[ClipScores], *, facts: Mapping[str, object]
) -> None:
    """`facts`, the rows with the reasons of what was unscorable, and every clip's score of every draw."""
    document = {
        **facts,
        "rows": [_finite(row._asdict()) for row in rows],
        "clips": [_clip(clip, rows) for clip in clips],
    }
    path.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def _clip(clip: ClipScores, rows: Sequence[ChannelRow]) -> dict[str, object]:
    channels = list(dict.fromkeys(row.channel for row in rows))
    metrics = list(dict.fromkeys(row.metric for row in rows))
    draws = {}
    for c, channel in enumerate(channels):
        unscorable = {metric: clip.reasons(c, metric) for metric in metrics}
        draws[channel] = {
            "bit_error_rate": clip.bit_errors[c].tolist(),
            "erased_words": clip.erased_words[c].tolist(),
            "scores": {metric: _numbers(clip.values(c, metric)) for metric in metrics},
            "unscorable": {metric: reasons for metric, reasons in unscorable.items() if reasons},
        }
    return {"id": clip.clip_id, "seconds": clip.seconds, "bits": clip.bits, "channels": draws}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _finite(mapping: Mapping[str, object]) -> dict[str, object]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in mapping.items()}


def format_table(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric], *, confidence: float) -> str:
    """Channels as lines and metrics as columns, each "mean ±half-width"; unscorable draws in brackets and by reason."""
    if not rows:
        return "Channel evaluation: no clips."
    per_channel: dict[str, dict[str, ChannelRow]] = {}
    for row in rows:
        per_channel.setdefault(row.channel, {})[row.metric] = row
    header = ["channel", "bit errors", *(m.label + (f" ({m.unit})" if m.unit else "") for m in metrics), "unscorable"]
    lines = [header]
    for channel, found in per_channel.items():
        first = next(iter(found.values()))
        cells = [_cell(found[metric.name]) for metric in metrics]
        unscorable = sum(row.unscorable for row in found.values())
        total = sum(row.unscorable + row.scored for row in found.values())
        rate = f"{100 * first.measured_bit_error_rate:.3g} %"
        lines.append([channel, rate, *cells, f"{unscorable}/{total}" if unscorable else "0"])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = []
    for first_cell, *others in lines:
        right = (cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))
        text.append("  ".join([first_cell.ljust(widths[0]), *right]))
    text.insert(1, "-" * len(text[0]))
    first = rows[0]
    text.insert(
        0,
        f"Scores through the channel: mean ± half the {100 * confidence:g} % interval over {first.clips} clips"
        + (f", {first.repeats} draws each" if first.repeats > 1 else ""),
    )
    return "\n".join([*text, *_notes(rows, metrics)])


def _cell(row: ChannelRow) -> str:
    digits = 1 if row.unit == "dB" else 2 if row.unit else 3
    value = "none" if math.isnan(row.mean) else f"{row.mean:.{digits}f}"
    if not math.isnan(row.low):
        value += f" ±{(row.high - row.low) / 2:.{digits}f}"
    return f"{value} [{row.unscorable}]" if row.unscorable else value


def _notes(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric]) -> list[str]:
    labels = {metric.name: metric.label for metric in metrics}
    notes = []
    for row in rows:
        if row.unscorable:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(row.reasons.items()))
            draws = row.unscorable + row.scored
            notes.append(f"{row.channel}, {labels[row.metric]}: {row.unscorable} of {draws} unscorable: {reasons}")
    if notes:
        notes.insert(0, "[n]: n draws are unscorable and missing from the mean.")
    return notes
