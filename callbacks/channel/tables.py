"""Channel scores and differences as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from callbacks.metrics import SpeechMetric
from callbacks.metrics.base import decimals
from callbacks.scoring.differences import FEWEST_PAIRS, SAME_RATE, Difference
from callbacks.scoring.scores import ChannelRow, stated_clips


def format_table(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric], *, confidence: float) -> str:
    """Channels and codecs as lines, metrics as columns, each "mean ±half-width"; draws without a score in brackets."""
    if not rows:
        return "Channel evaluation: no clips."
    lines: dict[tuple[str, str], dict[str, ChannelRow]] = {}
    for channel in dict.fromkeys(row.channel for row in rows):  # all codecs of a channel, then the next channel
        for row in rows:
            if row.channel == channel:
                lines.setdefault((channel, row.codec), {})[row.metric] = row
    several = len({row.codec for row in rows}) > 1
    rates = {f"{row.bit_rate / 1000:.3g}" for row in rows}
    head = ["channel", *(["codec"] if several else []), *(["kbit/s"] if several or len(rates) > 1 else [])]
    head += ["coded"] if "kbit/s" in head and any(not math.isnan(row.coded_bit_rate) for row in rows) else []
    head += ["delay (ms)"] if any(row.delay_ms for row in rows) else []
    table = [[*head, "bit errors", *(m.label_with_unit for m in metrics), "unscorable"]]
    for (channel, codec), found in lines.items():
        first = next(iter(found.values()))
        named = {"channel": channel, "codec": codec, "kbit/s": f"{first.bit_rate / 1000:.3g}"}
        named["coded"] = "–" if math.isnan(first.coded_bit_rate) else f"{first.coded_bit_rate / 1000:.3g}"
        named["delay (ms)"] = f"{first.delay_ms:.0f}"
        unscorable = sum(row.unscorable for row in found.values())
        total = sum(row.unscorable + row.scored for row in found.values())
        table.append([
            *(named[column] for column in head),
            f"{100 * first.measured_bit_error_rate:.3g} %",
            *(_cell(found[metric.name]) for metric in metrics),
            f"{unscorable}/{total}" if unscorable else "0",
        ])  # fmt: skip
    first = rows[0]
    over = stated_clips(first.clips, first.speakers)
    title = f"Scores through the channel: mean ± half the {100 * confidence:g} % interval over {over}"
    title += f", {first.repeats} draws each" if first.repeats > 1 else ""
    return "\n".join([title, *aligned(table, left=2 if several else 1), *_rate_note(rows), *score_notes(rows, metrics)])


def aligned(table: Sequence[Sequence[str]], *, left: int) -> list[str]:
    """Lines of a table, its head first; the first `left` columns are left-aligned, the rest right-aligned."""
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
    """A note if codecs or channels differ in bit rate."""
    found = {(row.codec, row.bit_rate) for row in rows}
    rates = [rate for _, rate in found]
    if min(rates) <= 0 or max(rates) / min(rates) < SAME_RATE:
        return []
    return [f"Bit rates differ, from {min(rates) / 1000:.3g} to {max(rates) / 1000:.3g} kbit/s on the channel."]


def _cell(row: ChannelRow) -> str:
    digits = decimals(row.unit)
    value = mean_text(row, digits)
    if not math.isnan(row.low):
        value += f" ±{(row.high - row.low) / 2:.{digits}f}"
    return f"{value} [{row.unscorable}]" if row.unscorable else value


def mean_text(row: ChannelRow, digits: int) -> str:
    """A row's mean with some decimals; "–" where it is withheld, "none" where there is none."""
    return "–" if row.withheld else "none" if math.isnan(row.mean) else f"{row.mean:.{digits}f}"


def score_notes(rows: Sequence[ChannelRow], metrics: Sequence[SpeechMetric]) -> list[str]:
    """What the brackets and dashes of a table of scores mean, and why each draw has no score."""
    labels = {metric.name: metric.label for metric in metrics}
    notes = [f"–: {reason}." for reason in dict.fromkeys(row.withheld for row in rows if row.withheld)]
    endless = {metric.name for metric in metrics if metric.worst is None}
    lacking = {row.metric for row in rows if row.imputed or (row.unscorable and row.metric in endless)}
    notes += imputed_note(metrics, lacking)
    scored = {row.metric for row in rows}
    notes += [
        f"{metric.label}: only with {metric.needs.metric.upper()} among the metrics is it withheld where it fails."
        for metric in metrics
        if metric.needs is not None and metric.name in scored and metric.needs.metric not in scored
    ]
    weightless = {row.metric for row in rows if row.unscorable > row.imputed}
    notes += [
        f"{metric.label} is a rate over all words or characters; a clip without any counts nothing in it."
        for metric in metrics
        if metric.pooled and metric.name in weightless
    ]
    for row in rows:
        if row.unscorable:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in sorted(row.reasons.items()))
            draws = row.unscorable + row.scored
            codec = f"{row.codec}, " if row.codec else ""
            notes.append(
                f"{codec}{row.channel}, {labels[row.metric]}: {row.unscorable} of {draws} unscorable: {reasons}"
            )
    return notes


def imputed_note(metrics: Sequence[SpeechMetric], lacking: Collection[str]) -> list[str]:
    """How draws without a score count, if a metric is `lacking` scores."""
    found = [metric for metric in metrics if metric.name in lacking]
    worst = ", ".join(f"{metric.label} {metric.worst:g}" for metric in found if metric.worst is not None)
    endless = ", ".join(metric.label for metric in found if metric.worst is None)
    counted = [f"[n]: n draws have no score and count in the mean with the worst value ({worst})."]
    none = [f"none [n]: n draws have no score, and without a worst value ({endless}) there is no mean to compare."]
    return counted * bool(worst) + none * bool(endless)


def format_differences(rows: Sequence[Difference], metrics: Sequence[SpeechMetric], *, confidence: float) -> str:
    """Channels and codecs as lines, metrics as columns, each "difference [low, high]", * if 0 is outside."""
    lines: dict[tuple[str, str, str], dict[str, Difference]] = {}
    for row in rows:
        lines.setdefault((row.channel, row.codec, row.baseline), {})[row.metric] = row
    table = [["channel", "codec", "minus", *(m.label_with_unit for m in metrics)]]
    for (channel, codec, baseline), found in lines.items():
        first = next(iter(found.values()))
        rates = "" if first.equal_rate else f" ({first.bit_rate / 1000:.3g} : {first.baseline_bit_rate / 1000:.3g})"
        table.append([channel, codec, baseline + rates, *(_difference_cell(found[m.name], m) for m in metrics)])
    title = f"Differences over the same clips and draws, [{100 * confidence:g} % interval], * where it leaves out 0:"
    equal = all(row.equal_rate for row in rows)
    note = [] if equal else ["(a : b): the bit rates in kbit/s differ, so this is no comparison at one rate."]
    if any(0 < row.pairs < FEWEST_PAIRS for row in rows):
        note.append(f"Fewer than {FEWEST_PAIRS} clips: too few for these intervals to mean much, so no *.")
    note += [f"–: {reason}." for reason in dict.fromkeys(row.withheld for row in rows if row.withheld)]
    note += [
        f"{row.codec}, {row.channel}, {row.metric}: {row.unpaired} of {row.draws + row.unpaired} draws lack a score of "
        f"either codec{_unpaired(row.metric, metrics)}."
        for row in rows
        if row.unpaired
    ]
    return "\n".join([title, *aligned(table, left=3), *note])


def _unpaired(name: str, metrics: Sequence[SpeechMetric]) -> str:
    """How draws without both scores count in a metric's difference."""
    metric = next(metric for metric in metrics if metric.name == name)
    if metric.worst is None:
        return ", so there is no difference"
    return " and count with the worst value" + ", or nothing where the clip has no words" * metric.pooled


def _difference_cell(row: Difference, metric: SpeechMetric) -> str:
    digits = decimals(metric.unit)
    if math.isnan(row.difference):
        return "–" if row.withheld else "none"
    text = f"{row.difference:+.{digits}f}"
    if math.isnan(row.low):
        return text
    better = metric.higher_is_better is not None  # else a difference is neither a gain nor a loss
    clear = better and row.pairs >= FEWEST_PAIRS and (row.low > 0 or row.high < 0)
    return f"{text} [{row.low:+.{digits}f}, {row.high:+.{digits}f}]{'*' if clear else ' '}"
