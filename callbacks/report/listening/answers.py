"""Reads the files that listeners saved, and checks them against the key."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.report.listening.key import Condition, Key, Trial, parsing
from codec.errors import InvalidValue, UnreadableFile

FORMAT = "listening-test-results/1"


class Listener(NamedTuple):
    """The answers of one listener.

    Attributes:
        name: As the listener wrote it.
        file: The file.
        ratings: In MUSHRA, of each finished trial, by its name: the rating of each condition, 0 to 100.
        correct: In ABX, of each finished trial, by its name: whether X was told.
        missing: The trials that are not finished, in the order of the key.
        comment: What the listener wrote at the end.
    """

    name: str
    file: Path
    ratings: dict[str, dict[Condition, int]]
    correct: dict[str, bool]
    missing: list[Trial]
    comment: str


class Answer(NamedTuple):
    """One answer of a finished trial, for statistics of one's own.

    Attributes:
        listener: As the listener wrote it.
        finished: Whether the listener finished the test, and so counts in the tables.
        clip: The trial's clip.
        speaker: The clip's speaker; empty where unknown.
        role: "reference", "anchor" or "system"; in ABX of what was compared with the standard.
        system: As in the key.
        channel: As in the key.
        answer: The rating; in ABX 1 where X was told, else 0.
    """

    listener: str
    finished: bool
    clip: str
    speaker: str
    role: str
    system: str
    channel: str
    answer: int


def all_answers(listeners: Sequence[Listener], key: Key) -> list[Answer]:
    """The answers in all finished trials, also of listeners who did not finish the test."""
    rows = []
    for who in listeners:
        for trial in key.trials:
            given = who.ratings.get(trial.trial, {})
            if trial.trial in who.correct:
                given = {next(iter(trial.signals.values())): int(who.correct[trial.trial])}
            rows += [
                Answer(who.name, not who.missing, trial.clip, trial.speaker, *condition, given[condition])
                for condition in given
            ]
    return rows


def read_answers(files: Sequence[Path], key: Key) -> list[Listener]:
    """The listeners in some files, by name.

    Raises:
        UnreadableFile: A file is no file of results, is of another test, or does not fit the key.
        InvalidValue: A listener is in two files.
    """
    found = sorted((_read(file, key) for file in files), key=lambda listener: listener.name)
    count = Counter(listener.name for listener in found)
    for name, times in count.items():
        if times > 1:
            where = ", ".join(str(listener.file) for listener in found if listener.name == name)
            raise InvalidValue(
                f"listener {name!r}", allowed=f"is in {times} files ({where})", remedy="give one file of each listener"
            )
    return found


def _read(file: Path, key: Key) -> Listener:
    remedy = "give the files that the page saved, unchanged"
    with parsing(file, "file of results that fits the key", remedy=remedy):
        document = json.loads(file.read_text(encoding="utf-8"))
        _check(document["format"] == FORMAT, f"its format is {document['format']!r}")
        if document["test"] != key.test:
            raise UnreadableFile(
                str(file),
                allowed=f"is of test {str(document['test'])[:40]} and the key of {key.test}",
                remedy="give the key that was written with the listener's page",
            )
        _check(document["method"] == key.method, f"its method is {document['method']!r}")
        name = document["listener"]
        _check(isinstance(name, str) and bool(name.strip()), "it names no listener")
        entries = {entry["trial"]: entry for entry in document["trials"]}
        _check(len(entries) == len(document["trials"]), "it has a trial twice")
        unknown = entries.keys() - {trial.trial for trial in key.trials}
        _check(not unknown, f"trial {min(unknown, default='')!r} is not in the key")
        ratings, correct, missing = {}, {}, []
        for trial in key.trials:
            entry = entries.get(trial.trial)
            if entry is not None and key.method == "mushra":
                given = _ratings(entry, trial)
                if len(given) == len(trial.signals):
                    ratings[trial.trial] = given
                    continue
            elif entry is not None:
                told = _told(entry, trial)
                if told is not None:
                    correct[trial.trial] = told
                    continue
            missing.append(trial)
        return Listener(name.strip(), file, ratings, correct, missing, str(document.get("comment", "")))


def _ratings(entry: dict[str, Any], trial: Trial) -> dict[Condition, int]:
    """The ratings in a trial; fewer than its signals where some are not rated."""
    _check(sorted(entry["order"]) == sorted(trial.signals), f"trial {trial.trial} has other signals than the key")
    given = {name: value for name, value in entry["ratings"].items() if value is not None}
    for name, value in given.items():
        _check(name in trial.signals, f"trial {trial.trial} rates {name!r}, which is not among its signals")
        whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 100
        _check(whole, f"trial {trial.trial} has the rating {value!r}, not a whole number from 0 to 100")
    return {condition: given[name] for name, condition in trial.signals.items() if name in given}


def _told(entry: dict[str, Any], trial: Trial) -> bool | None:
    """Whether X was told; None where there is no answer."""
    first, second, x = entry["order"]
    known = sorted([first, second]) == sorted(trial.signals) and x in (first, second)
    _check(known, f"trial {trial.trial} has other signals than the key")
    answer = entry["answer"]
    _check(answer in ("a", "b", None), f"trial {trial.trial} has the answer {answer!r}, not a or b")
    return None if answer is None else (first if answer == "a" else second) == x


def _check(condition: bool, reason: str) -> None:
    if not condition:
        raise ValueError(reason)
