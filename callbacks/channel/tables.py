"""Channel scores as a table for the terminal, and as `channel.csv` and `channel.json`."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from callbacks.metrics import SpeechMetric
from callbacks.scoring.differences import FEWEST_PAIRS, SAME_RATE, Difference
from callbacks.scoring.scores import ChannelRow, ClipScores


def write_csv(path: Path, rows: Sequence[NamedTuple], *, leave_out: Sequence[str] = ()) -> None:
    """One line per row; the columns are the rows' fields, empty where there is no value."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = [column for column in (rows[0]._fields if rows else ()) if column not in leave_out]
        writer.writerow(columns)
        for row in rows:
            cells = (getattr(row, column) for column in columns)
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
            "erased_codewords": clip.erased_codewords[c].tolist(),
            "scores": {metric: _numbers(clip.values(c, metric)) for metric in metrics},
            "unscorable": {metric: reasons for metric, reasons in unscorable.items() if reasons},
        }
    named = {"codec": clip.codec} if clip.codec else {}
    return {"id": clip.clip_id, **named, "seconds": clip.seconds, "bits": clip.bits, "channels": draws}


def _numbers(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _finite(mapping: Mapping[str, object]) -> dict[str, object]:
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in mapping.items()}


def format_table(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric], *, confidence: float) -> str:
    """Channels and codecs as lines, metrics as columns, each "mean ±half-width"; unscorable draws in brackets."""
    if not rows:
        return "Channel evaluation: no clips."
    lines: dict[tuple[str, str], dict[str, ChannelRow]] = {}
    for channel in dict.fromkeys(row.channel for row in rows):  # a channel's codecs stand together
        for row in rows:
            if row.channel == channel:
                lines.setdefault((channel, row.codec), {})[row.metric] = row
    several = len({row.codec for row in rows}) > 1
    rates = {f"{row.bit_rate / 1000:.3g}" for row in rows}
    head = ["channel", *(["codec"] if several else []), *(["kbit/s"] if several or len(rates) > 1 else [])]
    table = [[*head, "bit errors", *(m.label + (f" ({m.unit})" if m.unit else "") for m in metrics), "unscorable"]]
    for (channel, codec), found in lines.items():
        first = next(iter(found.values()))
        named = {"channel": channel, "codec": codec, "kbit/s": f"{first.bit_rate / 1000:.3g}"}
        unscorable = sum(row.unscorable for row in found.values())
        total = sum(row.unscorable + row.scored for row in found.values())
        table.append([
            *(named[column] for column in head),
            f"{100 * first.measured_bit_error_rate:.3g} %",
            *(_cell(found[metric.name]) for metric in metrics),
            f"{unscorable}/{total}" if unscorable else "0",
        ])  # fmt: skip
    first = rows[0]
    title = f"Scores through the channel: mean ± half the {100 * confidence:g} % interval over {first.clips} clips"
    title += f", {first.repeats} draws each" if first.repeats > 1 else ""
    return "\n".join([title, *aligned(table, left=2 if several else 1), *_rate_note(rows), *_notes(rows, metrics)])


def aligned(table: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Lines of a table whose first row is its head; the first `left` columns start at the left."""
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in table
    ]
    lines.insert(1, "-" * len(lines[0]))
    return lines


def _rate_note(rows: Sequence[ChannelRow]) -> list[str]:
    """Says so where codecs or channels do not use the same number of bits per second."""
    found = {(row.codec, row.bit_rate) for row in rows}
    rates = [rate for _, rate in found]
    if min(rates) <= 0 or max(rates) / min(rates) < SAME_RATE:
        return []
    return [f"Bit rates differ, from {min(rates) / 1000:.3g} to {max(rates) / 1000:.3g} kbit/s on the channel."]


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
            codec = f"{row.codec}, " if row.codec else ""
            notes.append(
                f"{codec}{row.channel}, {labels[row.metric]}: {row.unscorable} of {draws} unscorable: {reasons}"
            )
    if notes:
        notes.insert(0, "[n]: n draws are unscorable and missing from the mean.")
    return notes


def format_differences(rows: Sequence[Difference], metrics: Sequence[SpeechMetric], *, confidence: float) -> str:
    """Channels and codecs as lines, metrics as columns, each "difference [low, high]", * where 0 lies outside."""
    lines: dict[tuple[str, str, str], dict[str, Difference]] = {}
    for row in rows:
        lines.setdefault((row.channel, row.codec, row.baseline), {})[row.metric] = row
    table = [["channel", "codec", "minus", *(m.label + (f" ({m.unit})" if m.unit else "") for m in metrics)]]
    for (channel, codec, baseline), found in lines.items():
        first = next(iter(found.values()))
        rates = "" if first.equal_rate else f" ({first.bit_rate / 1000:.3g} : {first.baseline_bit_rate / 1000:.3g})"
        table.append([channel, codec, baseline + rates, *(_difference_cell(found[m.name], m) for m in metrics)])
    title = f"Differences over the same clips and draws, [{100 * confidence:g} % interval], * where it leaves out 0:"
    like = all(row.equal_rate for row in rows)
    note = [] if like else ["(a : b) where bit rates differ, in kbit/s: not like for like."]
    if any(row.pairs < FEWEST_PAIRS for row in rows):
        note.append(f"Fewer than {FEWEST_PAIRS} clips: too few for these intervals to mean much, so no *.")
    lost = [row for row in rows if row.unpaired]
    note += [
        f"{row.codec}, {row.channel}, {row.metric}: {row.unpaired} of {row.draws + row.unpaired} draws lack a score of "
        "either codec and are left out."
        for row in lost
    ]
    return "\n".join([title, *aligned(table, left=3), *note])


def _difference_cell(row: Difference, metric: SpeechMetric) -> str:
    digits = 1 if metric.unit == "dB" else 2 if metric.unit else 3
    if math.isnan(row.difference):
        return "none"
    text = f"{row.difference:+.{digits}f}"
    if math.isnan(row.low):
        return text
    clear = row.pairs >= FEWEST_PAIRS and (row.low > 0 or row.high < 0)
    return f"{text} [{row.low:+.{digits}f}, {row.high:+.{digits}f}]{'*' if clear else ' '}"
