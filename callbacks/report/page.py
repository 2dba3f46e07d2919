"""Renders the listening page: players, curves, tables and configuration in one HTML file that needs no network."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from importlib.resources import files
from math import nan
from typing import NamedTuple

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from callbacks.figures.quality import quality_figure
from callbacks.metrics import SpeechMetric
from callbacks.report.audio import mp3_uri
from callbacks.report.runs import Runs
from callbacks.report.systems import System
from callbacks.report.tables import (
    channel_labels,
    difference_table,
    error_table,
    fact_table,
    number,
    score_table,
    short_label,
)
from callbacks.scoring.scores import ChannelRow


class Player(NamedTuple):
    """One signal to hear.

    Attributes:
        short: label of its button.
        label: label for a screen reader.
        channel: name of the channel.
        score: metric and value.
        source: MP3 as a data URI.
    """

    short: str
    label: str
    channel: str
    score: str
    source: str


class Clip(NamedTuple):
    """One clip: the players of the original and of each system; a text where there is none behind a channel."""

    name: str
    seconds: float
    rows: list[tuple[str, list[Player | str]]]


def build(runs: Runs) -> str:
    """The page as HTML."""
    rows = runs.rows()
    metrics = list({metric.name: metric for system in runs.systems for metric in system.metrics}.values())
    differences = runs.differences(rows)
    names = [system.name for system in runs.systems]
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    interval = f"{100 * runs.bootstrap.confidence:g} % interval"
    return template.render(
        title=f"Listening page: {', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}",
        runs=runs,
        interval=interval,
        clips=[_clip(runs, clip) for clip in runs.audio_clips],
        curves=[figure for metric in metrics for figure in _curves(rows, metric)],
        tables=[score_table(rows, metric) for metric in metrics] + [error_table(rows)],
        differences=[
            difference_table(differences, m) for m in metrics if any(row.metric == m.name for row in differences)
        ],
        facts=[fact_table(runs.systems)],
    )


def _clip(runs: Runs, clip_id: str) -> Clip:
    channels = [c.name for c in runs.channels if any(c.name in system.audio[clip_id] for system in runs.systems)]
    original = Player("original", "original", "", "", mp3_uri(runs.originals[clip_id]))
    rows: list[tuple[str, list[Player | str]]] = [("original", [original])]
    rows += [(system.name, [_player(system, clip_id, channel) for channel in channels]) for system in runs.systems]
    return Clip(clip_id, runs.systems[0].clips[clip_id]["seconds"], rows)


def _player(system: System, clip_id: str, channel: str) -> Player | str:
    if channel not in system.audio[clip_id]:
        return f"{short_label(channel)}: no {'audio' if channel in system.bit_rates else 'test'}"
    metric = next((metric for metric in system.metrics if metric.name == "stoi"), system.metrics[0])
    value = system.clips[clip_id]["channels"][channel]["scores"][metric.name][0]  # of the draw with audio
    score = f"{metric.label} {'unscored' if value is None else number(value, metric.unit)}"
    short, long = channel_labels(channel)
    return Player(short, f"{system.name}, {long}, {score}", channel, score, mp3_uri(system.audio[clip_id][channel]))


def _curves(rows: Sequence[ChannelRow], metric: SpeechMetric) -> list[Markup]:
    """One figure for all channels of a single system; in a comparison, one for each kind of channel.

    A system has the same colour in all figures; one without values in a figure is only in its legend.
    """
    names = list(dict.fromkeys(row.codec for row in rows))
    found = [row for row in rows if row.metric == metric.name]
    kinds = list(dict.fromkeys(row.curve for row in found))
    if len(names) == 1 or len(kinds) == 1:
        groups = {metric.label: found}
    else:
        groups = {f"{metric.label}, {kind}": [row for row in found if row.curve == kind] for kind in kinds}
    figures = []
    for title, group in groups.items():
        absent = set(names) - {row.codec for row in group}
        blank = group[0]._replace(mean=nan, low=nan, high=nan, unscorable=0, withheld="")
        empty = [blank._replace(codec=name) for name in absent]
        shown = sorted([*group, *empty], key=lambda row: names.index(row.codec))
        figures.append(_figure(shown, metric, title))
    return figures


def _figure(rows: Sequence[ChannelRow], metric: SpeechMetric, title: str) -> Markup:
    """The figure as inline SVG: text as text, no fixed size, ids that no other figure has."""
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        figure = quality_figure(rows, [metric], title=title)
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True)
    svg = written.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    prefix = re.sub(r"\W", "-", title) + "-"
    for reference in ('id="', "url(#", 'href="#'):
        svg = svg.replace(reference, reference + prefix)
    width, height = (72 * inches for inches in figure.get_size_inches())
    label = Markup.escape(f"{title} against the share of bits wrong or lost; the numbers are in the table below")
    head = f'<svg role="img" aria-label="{label}" viewBox="0 0 {width:g} {height:g}" style="max-width: {width:g}pt">'
    return Markup(head + svg[svg.index(">") + 1 :])
