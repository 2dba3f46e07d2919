"""The text of a quoted figure: a reference such as `codecs FSQ stoi bsc-0 ±`, looked up in the logged files.

    RUN SYSTEM METRIC CHANNEL [FORM...]      a mean of the run's channel.csv; a run of one codec has no SYSTEM
    RUN "SYSTEM - SYSTEM" METRIC CHANNEL     a paired difference, from the run's channel.json
    RUN "SYSTEM - SYSTEM" METRIC "CHANNEL - CHANNEL"     that of what the channel changes (the second without errors)
    FILE.csv NAME... COLUMN                  the row with these names; FILE.json KEY...: lists by name or number
    table RUN rows NAME... columns NAME... [of NAME...] [FORM...]

A form is `±` (and half the interval), `[]` (and its bounds), `%` (a share as percentage) or a number of decimals (`.2`;
three where none is given, as in RESULTS.md). After `else` stands the text for a run that is not logged.
"""

from __future__ import annotations

import csv
import difflib
import json
import math
import shlex
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from callbacks.report.quoted_form import Figure, split_form
from callbacks.report.results.assignment import assignment
from callbacks.report.results.evaluation import Evaluation, parse_evaluation
from callbacks.report.results.logged import read_logged
from callbacks.report.results.markdown import Table, rate, text
from callbacks.report.results.sections import LABELS
from callbacks.report.results.summary import summary
from callbacks.report.systems import reading
from codec.errors import InvalidValue, UnreadableFile

MINUS = " - "
WITH_INTERVAL = ("mean", "difference", "loss")  # the columns to which `low` and `high` beside them belong
REMEDY = "test the run again"
NAMED_RATES = {"bsc": "", "gilbert": " in bursts", "frame": " of frames lost", "packet": " of packets lost"}


class Figures:
    """The logged files below a folder, read as they are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read = lru_cache(maxsize=None)(_read)
        self._evaluation = lru_cache(maxsize=None)(_evaluation)
        self._summary = lru_cache(maxsize=None)(lambda: summary(read_logged(folder)))

    def text(self, reference: str) -> str:
        """A reference's figure as text.

        Raises:
            InvalidValue: no such file or run, name, or form; the nearest valid names are stated.
            UnreadableFile: a logged file is damaged.
        """
        words = _split(reference)
        if "else" in words:
            place = words.index("else")
            words, otherwise = words[:place], " ".join(words[place + 1 :])
            if words and not self._path(words[0]).is_file():
                return otherwise
        names, form = split_form(words)
        return form.write(self._find(names))

    def table(self, reference: str) -> str:
        """A Markdown table of figures, given what follows `table` in its reference; raises as `text` does."""
        if _split(reference)[:1] == ["results"]:
            return self._results_table(_split(reference)[1:])
        words, form = split_form(_split(reference))
        parts: dict[str, list[str]] = {"run": [], "rows": [], "columns": [], "of": []}
        part = "run"
        for word in words:
            if word in list(parts)[1:] and not parts[word]:
                part = word
            else:
                parts[part].append(word)
        if len(parts["run"]) != 1 or not parts["rows"] or not parts["columns"]:
            raise InvalidValue(
                "table", reference, "is no table", "write: table RUN rows NAME... columns NAME... [of NAME...]"
            )
        source, rows, columns, fixed = parts["run"][0], parts["rows"], parts["columns"], parts["of"]
        body = [
            [self._label(source, row), *(form.write(self._find([source, *fixed, row, column])) for column in columns)]
            for row in rows
        ]
        flips = any(name.startswith("bsc-") for name in (*rows, *columns))
        of = [LABELS.get(name, _upper(name)) for name in fixed if not self._is_system(source, name)]
        head = [", ".join([*of, *["bits flipped"] * flips]), *(self._label(source, column) for column in columns)]
        return text(Table(head, body))

    def sentence(self, name: str) -> str:
        """A sentence of RESULTS.md's summary, without the words that head it; raises as `text` does."""
        found = self._summary()
        if name not in found:
            raise _unknown(name, "is no sentence of the summary", found)
        return found[name]

    def _results_table(self, names: Sequence[str]) -> str:
        """A table of RESULTS.md's first section: `parts`, `lost`, or that of a bit error rate, such as "10 %"."""
        found = assignment(read_logged(self.folder).maps)
        known = {} if found is None else {"parts": found.parts, "lost": found.lost, **dict(found.by_rate)}
        name = " ".join(names)
        if name not in known:
            raise _unknown(name, "is no table of RESULTS.md's first section", known)
        return text(known[name])

    def _path(self, source: str) -> Path:
        return self.folder / (source if Path(source).suffix in (".csv", ".json") else f"{source}/channel.csv")

    def _find(self, words: Sequence[str]) -> Figure:
        """The figure that a source and names stand for."""
        if not words:
            raise InvalidValue("a reference", allowed="is empty", remedy="write: RUN SYSTEM METRIC CHANNEL")
        source, *names = words
        path = self._path(source)
        if not path.is_file():
            files = [f for suffix in ("csv", "json") for f in self.folder.rglob(f"*.{suffix}")]
            found = [file.relative_to(self.folder) for file in files]
            runs = [file.parent.as_posix() for file in found if file.name == "channel.csv"]
            raise _unknown(source, f"is no run or file below {self.folder}", [*runs, *(f.as_posix() for f in found)])
        run = path != self.folder / source
        if run and any(MINUS in name for name in names):
            return self._difference(source, names)
        value, beside = _select(self._read(path), names, source, column="mean" if run else None)
        column = names[-1] if names[-1:] and names[-1] in beside else "mean"
        if column not in WITH_INTERVAL:
            return Figure(value)
        unscored = int(beside.get("unscorable", beside.get("unpaired", 0)))
        of = unscored + int(beside.get("scored", beside.get("draws", 0)))
        return Figure(value, beside.get("low"), beside.get("high"), unscored, of, signed=column == "difference")

    def _difference(self, run: str, names: Sequence[str]) -> Figure:
        """A paired difference of two systems, or of what a channel changes in them."""
        logged = self._evaluation(self.folder / run)
        first = next(iter(logged.systems.values()))
        known = {
            "system": list(logged.systems),
            "metric": [metric.name for metric in first.metrics],
            "channel": [channel.name for channel in logged.channels],
        }
        found: dict[str, list[str]] = {kind: [] for kind in known}
        for name in (part for word in names for part in word.split(MINUS)):
            kind = next((kind for kind, valid in known.items() if name in valid), None)
            if kind is None:
                raise _unknown(
                    name, f"is no system, metric or channel of {run}", [n for valid in known.values() for n in valid]
                )
            found[kind].append(name)
        systems, metrics, channels = found.values()
        if len(systems) != 2 or len(metrics) != 1 or len(channels) not in (1, 2):
            raise InvalidValue(
                run, f"{shlex.join(names)}", "names no difference", 'write: RUN "SYSTEM - SYSTEM" METRIC CHANNEL'
            )
        if channels[1:] not in ([], [logged.clean.name]):
            raise InvalidValue(run, channels[1], "has errors", f"subtract {logged.clean.name}")
        gap = (logged.fragility if channels[1:] else logged.gap)(*systems, channel=channels[0], metric=metrics[0])
        return Figure(gap.mean, gap.low, gap.high, gap.of - gap.draws, gap.of, signed=True)

    def _rows(self, source: str) -> list[dict[str, Any]]:
        """The rows of a run's channel.csv; none for another file."""
        path = self._path(source)
        return self._read(path) if path.name == "channel.csv" and path.is_file() else []

    def _is_system(self, source: str, name: str) -> bool:
        return any(row["codec"] == name for row in self._rows(source))

    def _label(self, source: str, name: str) -> str:
        """A name in the head of a row or column: a channel by its rate, a difference by its systems."""
        for row in self._rows(source):
            kind = next((kind for kind in NAMED_RATES if row["curve"].startswith(kind)), None)
            if row["channel"] == name and kind is not None:
                return f"{rate(row['bit_error_rate'])}{NAMED_RATES[kind]}"
            if row["metric"] == name:
                return LABELS.get(name, _upper(name))
        return name.replace(MINUS, " minus ")


def _upper(metric: str) -> str:
    return metric.upper().replace("_", "-")


def _split(reference: str) -> list[str]:
    try:
        return shlex.split(reference)
    except ValueError as error:
        raise InvalidValue(reference, allowed="has a quotation mark that is not closed") from error


def _select(node: Any, names: Sequence[str], source: str, *, column: str | None) -> tuple[float, dict[str, Any]]:
    """The number below `node` that the names lead to, and the values beside it; `column` where they end at a row."""
    beside: dict[str, Any] = {}
    for place, name in enumerate(names):
        at = shlex.join([source, *names[:place]])
        if isinstance(node, list):
            kept = [entry for entry in node if name in _strings(entry)]
            if not kept and name.isdigit() and int(name) < len(node):
                kept = [node[int(name)]]
            if not kept:
                raise _unknown(name, f"is not in {at}", [word for entry in node for word in _strings(entry)])
            node = kept[0] if len(kept) == 1 else kept
        elif isinstance(node, dict) and name in node:
            node, beside = node[name], node
        elif name in _strings(node):  # the only row left has this name too
            continue
        else:
            raise _unknown(name, f"is not in {at}", list(node) if isinstance(node, dict) else [])
    if isinstance(node, dict) and column is not None:
        node, beside = node[column], node
    if isinstance(node, list | dict) or not isinstance(node, int | float):
        inside = _distinguishing(node) if isinstance(node, list) else list(node) if isinstance(node, dict) else []
        problem = f"names {len(node)} entries" if isinstance(node, list) else "is no number"
        raise InvalidValue(shlex.join([source, *names]), None, problem, f"add {_listed(inside[:6])}" if inside else "")
    return node, beside


def _strings(entry: Any) -> list[str]:
    """The texts in an entry of a list, which name it."""
    return [value for value in entry.values() if isinstance(value, str)] if isinstance(entry, dict) else []


def _distinguishing(entries: Sequence[Any]) -> list[str]:
    """The texts that some of the entries have and others lack."""
    texts = [set(_strings(entry)) for entry in entries]
    found = [word for entry in entries for word in _strings(entry) if not all(word in text for text in texts)]
    return list(dict.fromkeys(found))


def _unknown(name: str, problem: str, known: Iterable[str]) -> InvalidValue:
    nearest = difflib.get_close_matches(name, list(dict.fromkeys(known)), n=3, cutoff=0.0)
    return InvalidValue(name, None, problem, f"write {_listed(nearest)}" if nearest else "")


def _listed(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names)


def _read(path: Path) -> Any:
    """A logged file: a CSV as a list of rows, its numbers as numbers; null is NaN."""
    with reading(path, remedy=REMEDY):
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".json":
            return json.loads(
                text, object_hook=lambda entry: {k: math.nan if v is None else v for k, v in entry.items()}
            )
        rows = [{key: _number(value, key) for key, value in row.items()} for row in csv.DictReader(text.splitlines())]
        lacking = {"metric", "channel", "mean", "curve", "bit_error_rate", "imputed", "withheld"} - set(
            rows[0] if rows else ()
        )
        if path.name == "channel.csv" and lacking:
            raise ValueError(f"it lacks the columns {', '.join(sorted(lacking))}, as older files do")
        return rows


def _number(text: str, column: str) -> str | float:
    """A cell as a number where it is one, whole where it is written so; NaN for a value that is not there."""
    if not text and column in (*WITH_INTERVAL, "low", "high"):
        return math.nan
    try:
        return int(text) if text.isdigit() else float(text)
    except ValueError:
        return text


def _evaluation(folder: Path) -> Evaluation:
    """The scores of every clip of a run, as RESULTS.md reads them."""
    path = folder / "channel.json"
    if not path.is_file():
        raise UnreadableFile(str(path), allowed="is missing: differences are paired over its clips", remedy=REMEDY)
    with reading(path, remedy=REMEDY):
        return parse_evaluation(path)
