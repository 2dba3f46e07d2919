"""Values for the sections of RESULTS.md on links: error correction and receivers, behind every kind of channel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from callbacks.report.results.evaluation import Evaluation
from callbacks.report.results.markdown import Table, change, percent, score
from callbacks.report.results.sections import LABELS
from callbacks.report.systems import Setting
from callbacks.scoring.scores import ChannelRow

Rows = dict[tuple[str, str], ChannelRow]
KINDS = {
    "bsc": "Flipped bits",
    "gilbert": "Bursts of flipped bits (Gilbert–Elliott)",
    "frame": "Lost frames",
    "awgn-hard": "White noise, hard decisions (BPSK)",
    "awgn-soft": "White noise, soft decisions (BPSK)",
}


class Kind(NamedTuple):
    """Systems behind one kind of channel: means by metric, and differences from the plain system of their codec.

    `equal` names the systems left out, whose STOI equals that of one above.
    """

    title: str
    curve: str
    scores: list[Table]
    differences: Table
    equal: list[str]


def kinds(evaluation: Evaluation | None, metrics: tuple[str, ...]) -> list[Kind]:
    """Every system behind every kind of channel; empty without a run."""
    if evaluation is None:
        return []
    curves = dict.fromkeys(c.curve for c in evaluation.channels if c.error_rate > 0)
    order = [start for start in KINDS]
    found = sorted(curves, key=lambda curve: next((i for i, s in enumerate(order) if curve.startswith(s)), len(order)))
    return [_kind(evaluation, curve, metrics) for curve in found]


def _kind(evaluation: Evaluation, curve: str, metrics: tuple[str, ...]) -> Kind:
    clean = evaluation.clean
    settings = [c for c in evaluation.channels if c.curve == curve and c.error_rate > 0]
    title = next((name for start, name in KINDS.items() if curve.startswith(start)), curve)
    rows, equal = _distinct({name: evaluation.rows(name) for name in evaluation.systems}, (clean, *settings))
    head = ["kbit/s", "delay (ms)", "0", *(_label(c) for c in settings)]
    scores = []
    for metric in metrics:
        lines = [
            [name, *_facts(found, clean, settings), *(score(found.get((c.name, metric))) for c in (clean, *settings))]
            for name, found in rows.items()
        ]
        scores.append(Table([LABELS[metric], *head], lines))
    lines = []
    for name in rows:
        baseline = baseline_of(name, evaluation)
        if baseline != name:
            gaps = [change(evaluation.gap(name, baseline, channel=c.name, metric="stoi")) for c in settings]
            lines.append([f"{name} minus {baseline}", *gaps])
    return Kind(title, curve, scores, Table(["STOI, paired", *(_label(c) for c in settings)], lines), equal)


def _distinct(rows: dict[str, Rows], settings: Sequence[Setting]) -> tuple[dict[str, Rows], list[str]]:
    """The systems without those whose STOI equals an earlier one's, and the names of these.

    For example, what conceals losses has no effect where hard decisions are wrong.
    """
    shown: dict[str, Rows] = {}
    equal, seen = [], set()
    for name, found in rows.items():
        means = tuple(round(found[c.name, "stoi"].mean, 6) for c in settings)
        if means in seen:
            equal.append(name)
        else:
            seen.add(means)
            shown[name] = found
    return shown, equal


def baseline_of(name: str, evaluation: Evaluation) -> str:
    """The system without error correction and with the same receiver; of that one, the first of its codec.

    Systems of one codec begin with the same word; the receiver with a prior is the system "CODEC prior".
    """
    codec = name.split()[0]
    first = next(other for other in evaluation.systems if other.split()[0] == codec)
    rates = [evaluation.systems[system].bit_rates[evaluation.clean.name] for system in (name, first)]
    receiver = f"{codec} prior"
    return receiver if rates[0] > rates[1] and receiver in evaluation.systems else first


def _facts(rows: Rows, clean: Setting, settings: list[Setting]) -> list[str]:
    """Bit rate on the channel and delay of a system."""
    first = rows[clean.name, "stoi"]
    delay = max(rows[c.name, "stoi"].delay_ms for c in (clean, *settings))
    return [f"{first.bit_rate / 1000:.3g}", f"{delay:.0f}"]


def _label(setting: Setting) -> str:
    """A channel's head: Es/N0 and the share of bits wrong or lost."""
    if setting.family == "awgn":
        return f"{setting.name.split('-', 1)[1].rsplit('-', 1)[0]} ({percent(setting.error_rate)})".replace("dB", " dB")
    return percent(setting.error_rate)
