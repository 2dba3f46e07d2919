"""The results of a listening test: who counts and who does not, tables, CSV, JSON and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.figures.listening import Estimate, interval_figure
from callbacks.output.files import completed, without_nan, write_csv, write_json
from callbacks.report.listening.answers import Answer, Listener, all_answers, read_answers
from callbacks.report.listening.choices import Choice, choices
from callbacks.report.listening.key import Key, read_key
from callbacks.report.listening.ratings import (
    LEAST_REFERENCE,
    MOST_MISSED,
    Rating,
    RatingDifference,
    mean_ratings,
    missed_references,
    rating_differences,
    screened,
)
from callbacks.scoring.bootstrap import Bootstrap
from codec.errors import InvalidValue, counted

ENOUGH = 20  # listeners (ITU-R BS.1534-3)


class Summary(NamedTuple):
    """What a listening test has shown.

    Attributes:
        key: The test.
        listeners: Names of those who finished it.
        notes: Sentences about who was left out and what the intervals mean.
        ratings: Of MUSHRA: of the screened panel and of all.
        differences: Of MUSHRA, as the ratings.
        choices: Of ABX.
        answers: Every answer in a finished trial, also of listeners who were left out.
        comments: What listeners wrote, by name.
        confidence: Of the intervals.
    """

    key: Key
    listeners: list[str]
    notes: list[str]
    ratings: list[Rating]
    differences: list[RatingDifference]
    choices: list[Choice]
    answers: list[Answer]
    comments: dict[str, str]
    confidence: float

    def text(self) -> str:
        """The tables and notes for a terminal."""
        finished, clips = counted(len(self.listeners), "listener"), counted(len(self.key.clips), "clip")
        parts = [f"{self.key.title}: finished by {finished}, {clips}"]
        level = f"{100 * self.confidence:g} %"
        for panel in self._panels():
            head = [f"rating ({panel})", "n", "mean", f"[{level}, listeners]", f"[{level}, listeners and clips]"]
            rows = [row for row in self.ratings if row.panel == panel]
            parts.append(_table(head, [[_label(row), str(row.listeners), *_numbers(row)] for row in rows]))
            gaps = [row for row in self.differences if row.panel == panel]
            head[0] = f"difference ({panel})"
            lines = [[f"{g.system} minus {g.baseline}, {g.channel}", str(g.listeners), *_numbers(g)] for g in gaps]
            parts += [_table(head, lines)] * bool(gaps)
        if self.choices:
            head = ["X told", "listener", "correct", "share", f"[{level}]", "p (guessing)"]
            lines = [
                [f"{row.system}, {row.channel}: {row.standard}", row.listener, f"{row.correct}/{row.trials}",
                 f"{row.share:.2f}", f"[{row.low:.2f}, {row.high:.2f}]", f"{row.p_value:.3g}"]
                for row in self.choices
            ]  # fmt: skip
            parts.append(_table(head, lines))
        parts += ["\n".join(self.notes)] if self.notes else []
        parts += ["\n".join(f"{name} writes: {text}" for name, text in self.comments.items())] if self.comments else []
        return "\n\n".join(parts)

    def _panels(self) -> list[str]:
        """The panels; one where nobody is excluded."""
        return list({row.listeners: row.panel for row in reversed(self.ratings)}.values())[::-1]

    def write(self, path: Path) -> None:
        """Write NAME.csv, NAME_answers.csv, of differences NAME_differences.csv, and NAME.json and NAME.svg."""
        if path.suffix != ".csv":
            raise InvalidValue("output", str(path), "must end in .csv", "name it listening.csv")
        write_csv(path, self.ratings or self.choices)
        write_csv(path.with_name(f"{path.stem}_answers.csv"), self.answers)
        if self.differences:
            write_csv(path.with_name(f"{path.stem}_differences.csv"), self.differences)
        write_json(path.with_suffix(".json"), self.document())
        with completed(path.with_suffix(".svg")) as partial:
            _figure(self).savefig(partial)

    def document(self) -> dict[str, Any]:
        """All of it for JSON."""
        stated = {"test": self.key.test, "method": self.key.method, "title": self.key.title, "facts": self.key.facts}
        rest = {name: value for name, value in self._asdict().items() if name != "key"}
        return dict(without_nan({**stated, **rest}))


def read_listening(
    key_file: Path, files: Sequence[Path], *, baseline: str = "", bootstrap: Bootstrap | None = None
) -> Summary:
    """The results in some listeners' files.

    Only listeners who finished every trial count; the others are named in the notes.

    Raises:
        UnreadableFile: A file is not what it should be, or of another test.
        InvalidValue: A listener is in two files, none has finished, or the baseline is not in the test.
    """
    bootstrap = bootstrap or Bootstrap()
    key = read_key(key_file)
    found = read_answers(files, key)
    finished = [listener for listener in found if not listener.missing]
    notes = [_unfinished(listener, key) for listener in found if listener.missing]
    if not finished:
        raise InvalidValue("No listener has finished the test", remedy=f"{' '.join(notes)}".rstrip("."))
    answers = all_answers(found, key)
    comments = {listener.name: listener.comment.strip() for listener in found if listener.comment.strip()}
    names = [listener.name for listener in finished]
    if key.method == "abx":
        rows = choices(finished, key, confidence=bootstrap.confidence)
        notes += _choice_notes(rows, len(finished))
        return Summary(key, names, notes, [], [], rows, answers, comments, bootstrap.confidence)
    kept = screened(finished)
    notes += _screening_notes(finished, kept) + _few(len(kept))
    panels = [("screened", kept), ("all", finished)]
    ratings = [row for panel, who in panels for row in mean_ratings(who, key, panel=panel, bootstrap=bootstrap)]
    gaps = [
        row
        for panel, who in panels
        for row in rating_differences(who, key, panel=panel, baseline=baseline, bootstrap=bootstrap)
    ]
    return Summary(key, names, notes, ratings, gaps, [], answers, comments, bootstrap.confidence)


def _unfinished(listener: Listener, key: Key) -> str:
    clips = ", ".join(dict.fromkeys(trial.clip for trial in listener.missing))
    return (
        f"Left out: {listener.name} ({listener.file.name}), with {len(listener.missing)} of {len(key.trials)} trials "
        f"not finished (clips {clips})."
    )


def _screening_notes(finished: Sequence[Listener], kept: Sequence[Listener]) -> list[str]:
    rule = (
        f"Screening (ITU-R BS.1534-3): a listener who rates the hidden reference below {LEAST_REFERENCE} in more than "
        f"{100 * MOST_MISSED:.0f} % of the trials is excluded"
    )
    missed, names = missed_references(finished), {listener.name for listener in kept}
    excluded = [f"{name} ({100 * share:.0f} %)" for name, share in missed.items() if name not in names]
    return [f"{rule}: {', '.join(excluded) or 'none'}."]


def _few(count: int) -> list[str]:
    if count >= ENOUGH:
        return []
    if count < 2:
        return [f"{counted(count, 'listener')}: there is no interval over listeners."]
    return [f"{count} listeners: the intervals mean little; ITU-R BS.1534-3 names {ENOUGH} as often sufficient."]


def _choice_notes(rows: Sequence[Choice], listeners: int) -> list[str]:
    notes = ["p and intervals count trials as independent, also those of one listener."]
    pairs = sum(row.listener == "all" for row in rows)
    if pairs > 1:
        limit = f"compare p with {0.05 / pairs:.2g} (Bonferroni) for 5 % in all."
        notes.append(f"{pairs} pairs of all listeners were tested: {limit}")
    if len(rows) > pairs:
        notes.append(f"Of the rows of single listeners too, that makes {len(rows)} tests: {0.05 / len(rows):.2g}.")
    return notes + _few(listeners)[:1] * (listeners >= 2)


def _label(row: Rating) -> str:
    labels = {"reference": "hidden reference", "anchor": f"anchor, {row.system} low-pass"}
    return labels.get(row.role, f"{row.system}, {row.channel}")


def _numbers(row: Rating | RatingDifference) -> list[str]:
    sign = "+" if isinstance(row, RatingDifference) else ""
    bounds = [(row.low, row.high), (row.low_clips, row.high_clips)]
    return [f"{row.mean:{sign}.1f}", *("–" if isnan(a) else f"[{a:{sign}.1f}, {b:{sign}.1f}]" for a, b in bounds)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in
                  enumerate(zip(line, widths, strict=True))).rstrip()
        for line in lines
    )  # fmt: skip


def _figure(summary: Summary) -> Any:
    over = f"{counted(len(summary.listeners), 'listener')}, {100 * summary.confidence:g} % intervals"
    if summary.choices:
        rows = [
            Estimate(row.channel, f"{row.system} : {row.standard}", row.share, row.low, row.high)
            for row in summary.choices
            if row.listener == "all"
        ]
        title, ticks = f"ABX: share of correct answers, {over}", [0, 0.25, 0.5, 0.75, 1]
        return interval_figure(rows, title=title, label="share correct", limits=(0, 1.02), ticks=ticks)
    panel = summary.ratings[0].panel
    found = [row for row in summary.ratings if row.panel == panel]
    rows = [
        Estimate(row.channel, row.system, row.mean, row.low, row.high)
        if row.role == "system"
        else Estimate("reference and anchors", _label(row), row.mean, row.low, row.high)
        for row in found
    ]
    who = f"{counted(found[0].listeners, 'listener')} ({panel})"
    title = f"MUSHRA: mean ratings of {who}, {100 * summary.confidence:g} % intervals over listeners"
    return interval_figure(rows, title=title, label="rating", limits=(-2, 102), ticks=[0, 20, 40, 60, 80, 100])
