"""Reads the `channel.json` of tested runs, and compares the systems of several runs."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.metrics.checks import require
from callbacks.report.systems import Setting, System, read_bootstrap, read_systems, reading
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import Difference, differences
from callbacks.scoring.scores import ChannelRow, speaker_count, stated_clips
from codec.errors import InvalidValue, UnreadableFile

SHOWN = 3  # clips that an error names before "..."
CONFIGURATIONS = ("config.yaml", "test.yaml", "validate.yaml")  # of training, else of scoring


class Runs(NamedTuple):
    """Several runs on the same clips: all have scores of `clips`, and all have audio of `audio_clips`."""

    systems: list[System]
    clips: list[str]
    audio_clips: list[str]
    originals: dict[str, Path]
    configs: dict[str, str]
    bootstrap: Bootstrap
    notes: list[str]

    @property
    def channels(self) -> list[Setting]:
        """The channels of all systems, by kind and rate."""
        found = {channel.name: channel for system in self.systems for channel in system.channels}
        kinds = list(dict.fromkeys(channel.curve for channel in found.values()))
        return sorted(found.values(), key=lambda channel: (kinds.index(channel.curve), channel.error_rate))

    @property
    def over(self) -> str:
        """What the means are over: "44 clips of 31 speakers"."""
        return stated_clips(len(self.clips), speaker_count(self.systems[0].scores(self.clips, [], repeats=1)))

    def rows(self) -> list[ChannelRow]:
        """Every system's means over `clips`, by each of its own metrics, in the order of `channels`."""
        order = [channel.name for channel in self.channels]
        rows = [row for system in self.systems for row in system.rows(self.clips, self.bootstrap)]
        return sorted(rows, key=lambda row: order.index(row.channel))

    def differences(self, rows: Sequence[ChannelRow]) -> list[Difference]:
        """Paired differences, over the channels, metrics and draws that all systems have."""
        channels = _shared([system.channels for system in self.systems])
        metrics = _shared([system.metrics for system in self.systems])
        repeats = min(system.repeats for system in self.systems)
        if not channels or not metrics:
            return []
        scores = {system.name: system.scores(self.clips, channels, repeats=repeats) for system in self.systems}
        return differences(scores, rows, channels, metrics, bootstrap=self.bootstrap)


class _Run(NamedTuple):
    name: str
    systems: list[System]
    originals: dict[str, Path]
    config: str
    bootstrap: Bootstrap


def read_runs(folders: Sequence[Path]) -> Runs:
    """The systems of all runs, on the clips that all of them scored.

    Raises:
        UnreadableFile: A folder has no complete `channel.json`, or no audio.
        InvalidValue: A folder is given twice, runs have different seeds, or no clip is scored, or has audio, in all.
    """
    paths = [folder.resolve() for folder in folders]
    if twice := [str(folder) for folder, count in Counter(paths).items() if count > 1]:
        raise InvalidValue(", ".join(twice), allowed="is given more than once", remedy="name each run once")
    short = Counter(path.name for path in paths)
    runs = [
        _read(folder, path.name if short[path.name] == 1 else str(folder))
        for folder, path in zip(folders, paths, strict=True)
    ]
    first = runs[0]
    for run in runs[1:]:
        require(
            run.bootstrap.seed == first.bootstrap.seed,
            f"{first.name} has seed {first.bootstrap.seed} and {run.name} seed {run.bootstrap.seed}, so their channels "
            "damage different bits",
            remedy="test both with one `channels.seed`",
        )
    names = Counter(system.name for run in runs for system in run.systems)
    for system in (system for run in runs for system in run.systems):
        system.name = system.name if names[system.name] == 1 else f"{system.run}: {system.name}"
    clips, notes = _common({run.name: set(run.systems[0].clips) for run in runs}, "scores")
    audio, more = _common({run.name: set(run.originals) & set(clips) for run in runs}, "audio")
    _same_recordings(runs, clips)
    return Runs(
        [system for run in runs for system in run.systems], clips, audio, first.originals,
        {run.name: run.config for run in runs}, first.bootstrap, notes + more,
    )  # fmt: skip


def _read(folder: Path, name: str) -> _Run:
    path = folder / "channel.json"
    config = next((f for n in CONFIGURATIONS if (f := folder / n).is_file()), None)
    if not path.is_file():
        raise UnreadableFile(
            str(folder), allowed="has no channel.json", remedy="give the folder of a run after `python train.py test`"
        )
    with reading(path, remedy="test the run again"):
        document = json.loads(path.read_text(encoding="utf-8"))
        if audio := document.get("audio"):
            systems = read_systems(folder, document, name)
            originals = {clip["id"]: folder / clip["files"]["original"] for clip in audio}
            bootstrap = read_bootstrap(document)
    if not audio:
        raise UnreadableFile(
            str(path), allowed="names no audio", remedy="test the run again, with `channels.audio_clips` of 1 or more"
        )
    missing = [file for file in originals.values() if not file.is_file()]
    missing += [file for s in systems for files in s.audio.values() for file in files.values() if not file.is_file()]
    if missing:
        raise UnreadableFile(
            f"{missing[0]} and {len(missing) - 1} more audio files", allowed="are missing", remedy="test the run again"
        )
    text = f"({name} has no config.yaml)" if config is None else config.read_text(encoding="utf-8")
    return _Run(name, systems, originals, text, bootstrap)


def _shared(lists: Sequence[Sequence[Any]]) -> list[Any]:
    """The items of the first list whose names all lists have."""
    names = set.intersection(*({item.name for item in items} for items in lists))
    return [item for item in lists[0] if item.name in names]


def _common(found: dict[str, set[str]], what: str) -> tuple[list[str], list[str]]:
    """The clips that are in all runs, sorted, and a note for each run with more; `what` is what runs have of them."""
    common = set.intersection(*found.values())
    others = {run: sorted(clips - common) for run, clips in found.items() if clips - common}
    listed = [
        f"{run} has {what} of {', '.join(clips[:SHOWN])}{f' and {len(clips) - SHOWN} more' * (len(clips) > SHOWN)}"
        for run, clips in others.items()
    ]
    if not common:
        raise InvalidValue(
            f"no clip has {what} in all runs: {'; '.join(listed)}; test them on the same clips, by the same ids",
            remedy="an id is a clip's path below `root`, so give the runs one folder, or set the same `root` of the "
            "ManifestSource",
        )
    return sorted(common), [f"Left out, because another run lacks it: {text}." for text in listed]


def _same_recordings(runs: Sequence[_Run], clips: Sequence[str]) -> None:
    for run in runs[1:]:
        for clip in clips:
            a, b = (found.systems[0].clips[clip]["seconds"] for found in (runs[0], run))
            require(
                abs(a - b) <= 1e-3,  # a millisecond: a length is rounded differently at another sample rate
                f"clip {clip} lasts {a:.3f} s in {runs[0].name} and {b:.3f} s in {run.name}",
                remedy="not the same recording; test both runs on the same clips",
            )
