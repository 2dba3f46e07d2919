"""Audio of a tested run as file lists for VERSA (Shi et al. 2025, arXiv 2412.17667), and its scores into our tables.

    python -m callbacks.report.versa write runs/field -o lists
    versa-score --pred lists/1.scp --gt lists/gt.scp --text lists/text --score_config ... --output_file lists/1.jsonl
    python -m callbacks.report.versa read runs/field lists -o runs/field_versa

The last writes a run with VERSA's scores beside ours: channel.json, channel.csv and differences.csv, for the listening
page and all else that reads a run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.channel.document import channel_document
from callbacks.metrics.checks import require
from callbacks.output.files import completed, write_csv, write_json
from callbacks.report.systems import StatedMetric, System, read_bootstrap, read_systems, reading
from callbacks.scoring.differences import compare
from callbacks.scoring.scores import ClipScores
from codec.errors import UnreadableFile, UserError

COUNTS = re.compile(r"(?P<name>.*(?:wer|cer))_(?P<count>delete|insert|replace|equal)")
LOWER = re.compile(r"mcd|f0rmse|lsd|.*(wer|cer)|.*_(distance|rmse|mse)|ter")  # names whose small values are good
NO_SCORE = "VERSA gave no score"
LARGEST = 1e100  # what is beyond counts as no score


class Listed(NamedTuple):
    """A list of one system's audio behind one channel: `number`.scp, scored into `number`.jsonl."""

    number: int
    system: str
    channel: str


def write(run: Path, folder: Path) -> list[Listed]:
    """Write gt.scp, text (where transcripts are known), a list for each system and channel, and index.json.

    Names of clips stand in the lists with `_` in place of what separates words. Paths are absolute.

    Raises:
        UnreadableFile: the run has no complete `channel.json`, or not the audio of every clip behind every channel.
        InvalidValue: two names of clips become one.
    """
    document, systems = _read(run)
    first = systems[0]
    keys = {clip_id: re.sub(r"\s+", "_", clip_id) for clip_id in first.clips}
    require(len(set(keys.values())) == len(keys), "names of clips", None, "differ in their spaces alone", "rename them")
    lacking = [c for c in first.clips for s in systems if set(s.audio.get(c, {})) < {ch.name for ch in s.channels}]
    if lacking:
        remedy = (
            f"test again with --channels.audio_clips {len(first.clips)} --channels.audio_channels {len(first.channels)}"
        )
        count = len(set(lacking))
        raise UnreadableFile(str(run), None, f"lacks audio of {count} of {len(first.clips)} clips", remedy)
    originals = {clip["id"]: run / clip["files"]["original"] for clip in document["audio"]}
    folder.mkdir(parents=True, exist_ok=True)
    _lines(folder / "gt.scp", {keys[clip_id]: str(originals[clip_id].resolve()) for clip_id in keys})
    texts = {keys[clip_id]: entry["text"] for clip_id, entry in first.clips.items() if entry.get("text")}
    if texts:
        _lines(folder / "text", texts)
    pairs = [(system, channel.name) for system in systems for channel in system.channels]
    listed = [Listed(number, system.name, channel) for number, (system, channel) in enumerate(pairs, 1)]
    for entry, (system, channel) in zip(listed, pairs, strict=True):
        audio = {keys[clip_id]: str(system.audio[clip_id][channel].resolve()) for clip_id in keys}
        _lines(folder / f"{entry.number}.scp", audio)
    write_json(folder / "index.json", {"lists": [entry._asdict() for entry in listed], "clips": keys})
    return listed


def read(run: Path, folder: Path, output: Path) -> list[str]:
    """Write a run with VERSA's scores beside those of `run`; returns the metrics that it has added.

    Numbers become metrics `versa_NAME`, of each of which a clip without a score has a reason. Counts of words or
    characters (`NAME_delete`, `_insert`, `_replace`, `_equal`) become one rate, pooled over all of them.

    Raises:
        UnreadableFile: a file is missing or not of this run, or no list has scores.
        InvalidValue: the run has several draws, of which only the first has audio; it has such metrics already; or
            `output` is the run.
    """
    document, systems = _read(run)
    repeats = document["settings"]["repeats"]
    require(repeats == 1, "repeats", repeats, "has audio of the first draw alone", "test again with repeats 1")
    require(output.resolve() != run.resolve(), "output", str(output), "is the run itself", "name a new folder")
    if not (folder / "index.json").is_file():
        raise UnreadableFile(str(folder), None, "has no index.json", "write the lists of the run first")
    with reading(folder / "index.json", remedy="write the lists again"):
        index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        keys: dict[str, str] = index["clips"]
        listed = [Listed(**entry) for entry in index["lists"]]
    expected = {(system.name, channel.name) for system in systems for channel in system.channels}
    if set(keys) != set(systems[0].clips) or {(entry.system, entry.channel) for entry in listed} != expected:
        raise UnreadableFile(str(folder), None, f"is not of {run}", "write the lists of this run, and score them")
    known = set(keys.values())
    found = {(e.system, e.channel): _results(folder / f"{e.number}.jsonl", known) for e in listed}
    names = list(dict.fromkeys(name for clips in found.values() for scores in clips.values() for name in scores))
    require(bool(names), f"{folder}: its .jsonl files hold no numbers", remedy="run VERSA on the lists first")
    metrics = [_stated(name) for name in names]
    first, output = systems[0], output.resolve()
    twice = sorted({metric.name for metric in metrics} & {metric.name for metric in first.metrics})
    require(not twice, str(run), ", ".join(twice), "is among its metrics already", "give the run as it was tested")
    added = {s.name: [_clip(s, c, keys[c], found, metrics) for c in sorted(s.clips)] for s in systems}
    every = [*first.metrics, *metrics]
    bootstrap = read_bootstrap(document)
    rows, gaps = compare(added, first.channels, every, repeats=1, bootstrap=bootstrap)
    if "codec" in document:  # a run of one codec, whose name is empty
        rows = [row._replace(codec="") for row in rows]
        added = {name: [_unnamed(clip) for clip in clips] for name, clips in added.items()}
    output.mkdir(parents=True, exist_ok=True)
    for clip in document["audio"]:
        clip["files"] = {name: os.path.relpath((run / file).resolve(), output) for name, file in clip["files"].items()}
    facts = {key: value for key, value in document.items() if key not in ("metrics", "audio", "rows", "clips")}
    facts["settings"]["metrics"] = [metric.name for metric in every]
    clips = [clip for found_clips in added.values() for clip in found_clips]
    write_json(output / "channel.json", channel_document(facts, every, document["audio"], rows=rows, clips=clips))
    write_csv(output / "channel.csv", rows, leave_out=("reasons",))
    if gaps:
        write_csv(output / "differences.csv", gaps)
    lacking = {m.name: sum(row.unscorable for row in rows if row.metric == m.name) for m in metrics}
    of = len(first.clips) * len(listed)
    return [name + (f" ({count} of {of} signals without a score)" if count else "") for name, count in lacking.items()]


def _read(run: Path) -> tuple[dict[str, Any], list[System]]:
    path = run / "channel.json"
    if not path.is_file():
        raise UnreadableFile(str(run), None, "has no channel.json", "give the folder of a run after a test")
    with reading(path, remedy="test the run again"):
        document = json.loads(path.read_text(encoding="utf-8"))
        return document, read_systems(run, document, run.name)


def _lines(path: Path, entries: Mapping[str, str]) -> None:
    """A file of Kaldi: a key and its value on each line, sorted by key."""
    with completed(path) as partial:
        text = "".join(f"{key} {' '.join(value.split())}\n" for key, value in sorted(entries.items()))
        partial.write_text(text, encoding="utf-8")


def _results(path: Path, known: Collection[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Of each known key each metric's value and weight; what is no number is left out."""
    if not path.is_file():
        remedy = f"run VERSA on {path.with_suffix('.scp').name} with --output_file {path.name}"
        raise UnreadableFile(str(path), None, "does not exist", remedy)
    found: dict[str, dict[str, tuple[float, float]]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if not line.strip():
            continue
        try:
            scores = json.loads(line)
        except ValueError:
            scores = None
        key = str(scores.pop("key", "")) if isinstance(scores, dict) else ""
        wrong = "is no JSON object with a key" if not key else f"is of {key}, no clip of the lists"
        if key in found:
            wrong = f"is of {key} once more"
        if not key or key in found or key not in known:
            raise UnreadableFile(f"{path}, line {number}", None, wrong, "score the list of this folder again")
        found[key] = _values(scores)
    return found


def _values(scores: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    numbers = {
        name: float(value) if abs(value) < LARGEST else math.nan  # or no number
        for name, value in scores.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
    values: dict[str, tuple[float, float]] = {}
    for name, value in numbers.items():
        match = COUNTS.fullmatch(name)
        if match is None:
            values[name] = value, 1.0
            continue
        delete, insert, replace, equal = (
            numbers.get(f"{match['name']}_{kind}", math.nan) for kind in ("delete", "insert", "replace", "equal")
        )
        units = delete + replace + equal
        counts = min(delete, insert, replace, equal) >= 0 and units > 0  # else one is missing, or no count
        values[match["name"]] = ((delete + insert + replace) / units, units) if counts else (math.nan, math.nan)
    return values


def _stated(name: str) -> StatedMetric:
    rate = name.endswith(("wer", "cer"))
    lower = LOWER.fullmatch(name) is not None
    return StatedMetric({
        "name": f"versa_{name}", "label": f"{name} (VERSA)", "unit": "", "higher_is_better": not lower,
        "worst": 1.0 if rate else None, "pooled": rate,
    })  # fmt: skip


def _clip(
    system: System,
    clip_id: str,
    key: str,
    found: Mapping[tuple[str, str], Mapping[str, Mapping[str, tuple[float, float]]]],
    metrics: Sequence[StatedMetric],
) -> ClipScores:
    """The clip's scores with VERSA's."""
    (clip,) = system.scores([clip_id], system.channels, repeats=1)
    for channel, scores in zip(system.channels, clip.scores, strict=True):
        theirs = found[system.name, channel.name].get(key, {})
        for metric in metrics:
            value, weight = theirs.get(metric.name.removeprefix("versa_"), (math.nan, math.nan))
            scores.values[metric.name] = value if math.isfinite(value) else None
            if not math.isfinite(value):
                scores.reasons[metric.name] = NO_SCORE
            if metric.pooled and math.isfinite(weight):
                scores.weights[metric.name] = weight
    return clip


def _unnamed(clip: ClipScores) -> ClipScores:
    clip.codec = ""
    return clip


def main(arguments: list[str] | None = None) -> None:
    """Write the lists of a run, or read their scores; what cannot be used gives one sentence and exit status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m callbacks.report.versa", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    lists = commands.add_parser("write", help="lists of a run's audio")
    scores = commands.add_parser("read", help="a run with VERSA's scores")
    for command in (lists, scores):
        command.add_argument("run", type=Path, metavar="RUN", help="folder of a tested run, with channel.json")
    scores.add_argument("lists", type=Path, metavar="LISTS", help="folder of the lists and their .jsonl files")
    for command, what in ((lists, "lists"), (scores, "new run")):
        command.add_argument("-o", "--output", type=Path, required=True, help=f"folder of the {what}")
    options = parser.parse_args(arguments)
    try:
        if options.command == "write":
            listed = write(options.run, options.output)
            print(f"{options.output}: {len(listed)} lists")
            for entry in listed:
                print(f"  {entry.number}.scp: {entry.system}, {entry.channel}")
        else:
            names = read(options.run, options.lists, options.output)
            print(f"{options.output}/channel.json: with {', '.join(names)}")
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")


if __name__ == "__main__":
    main()
