"""An evaluated system as a tested run's `channel.json` describes it, with the scores and the audio of every clip."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Any

import numpy as np

from callbacks.metrics import Requirement, SpeechMetric
from callbacks.metrics.checks import require, require_at_least
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.scores import ChannelRow, ClipScores, summarise
from callbacks.scoring.signals import Scores
from codec.errors import UnreadableFile, first_line


@dataclass
class Setting:
    """A channel as `channel.json` states it; see `callbacks.scoring.scores.ChannelLabel`."""

    name: str
    family: str
    error_rate: float
    curve: str


class StatedMetric(SpeechMetric):
    """A metric as `channel.json` states it, for scores that exist already."""

    def __init__(self, stated: Mapping[str, Any]) -> None:
        self.name, self.label, self.unit = (stated[key] for key in ("name", "label", "unit"))
        self.higher_is_better = stated["higher_is_better"]
        self.worst = stated.get("worst")  # this and the next are missing from older files
        needs = stated.get("needs")
        self.needs = Requirement(**needs) if needs else None
        self.pooled = stated.get("pooled", False)

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        raise NotImplementedError(f"{self.label} is read from channel.json, not computed")


@dataclass
class System:
    """One codec and its link in one run.

    Attributes:
        name: Unique on the page.
        run: Name of its run on the page.
        facts: What `channel.json` states of its codec, its link and the evaluation.
        channels: In the order of the run.
        metrics: In the order of the run.
        repeats: Draws per clip and channel.
        bit_rates: Bits per second that cross each channel, by its name.
        delays_ms: Delay behind each channel in milliseconds, by its name; 0 in older files.
        clips: Clip id to the clip's entry in `channel.json`.
        audio: Clip id to channel name to WAV file, of the first draw.
    """

    name: str
    run: str
    facts: dict[str, Any]
    channels: list[Setting]
    metrics: list[SpeechMetric]
    repeats: int
    bit_rates: dict[str, float]
    delays_ms: dict[str, float]
    clips: dict[str, dict[str, Any]]
    audio: dict[str, dict[str, Path]]

    def scores(self, clips: Sequence[str], channels: Sequence[Setting], *, repeats: int) -> list[ClipScores]:
        """The scores of some clips behind some channels, of the first draws."""
        return [self._clip(clip_id, channels, repeats) for clip_id in clips]

    def rows(self, clips: Sequence[str], bootstrap: Bootstrap) -> list[ChannelRow]:
        """The means over some clips behind every channel, by every metric."""
        scores = self.scores(clips, self.channels, repeats=self.repeats)
        return summarise(scores, self.channels, self.metrics, repeats=self.repeats, bootstrap=bootstrap)

    def _clip(self, clip_id: str, channels: Sequence[Setting], repeats: int) -> ClipScores:
        entry = self.clips[clip_id]
        draws = [entry["channels"][channel.name] for channel in channels]
        return ClipScores(
            clip_id,
            codec=self.name,
            speaker=entry.get("speaker", ""),
            seconds=entry["seconds"],
            bits=entry["bits"],
            codewords=entry["bits"] // self.facts["bits_per_frame"] * len(self.facts["codebook_sizes"]),
            bit_rates=np.array([self.bit_rates[channel.name] for channel in channels]),
            delays_ms=np.array([self.delays_ms[channel.name] for channel in channels]),
            signals=np.arange(len(draws) * repeats).reshape(len(draws), repeats),
            bit_errors=np.array([draw["bit_error_rate"][:repeats] for draw in draws]),
            erased_codewords=np.array([draw["erased_codewords"][:repeats] for draw in draws]),
            scores=[
                _scores(draw, repeat)._replace(weights=entry.get("weights", {}))
                for draw in draws
                for repeat in range(repeats)
            ],
            coded_bit_rate=_or_nan(entry.get("coded_bit_rate")),
            transcript=entry.get("text", ""),
        )


@contextmanager
def reading(path: Path, *, remedy: str) -> Iterator[None]:
    """Inside, an error about the file's contents, such as a missing key, becomes an UnreadableFile."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, StopIteration) as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise UnreadableFile(
            str(path), allowed=f"is incomplete or not of an evaluation ({reason})", remedy=remedy
        ) from error


def read_systems(folder: Path, document: dict[str, Any], run: str) -> list[System]:
    """The systems in a `channel.json`; `run` names the run, and a system without a name.

    Raises:
        InvalidValue: The systems have different clips, a clip lacks a number, or a null lacks its reason. Anything else
            that is missing is a KeyError, TypeError or AttributeError; `reading` turns all of them into one error.
    """
    rows, settings = document["rows"], document["settings"]
    channels = {
        row["channel"]: Setting(row["channel"], row["family"], row["bit_error_rate"], row["curve"]) for row in rows
    }
    facts = {"stage": document["stage"].removeprefix("TrainerFn.").lower(), "step": document["step"]}
    facts |= {key: settings[key] for key in ("repeats", "seed")}
    codecs = document.get("codecs") or {"": document["codec"]}
    found = []
    for codec, stated in codecs.items():
        prefix = f"{codec}, " if codec else ""
        audio = {
            clip["id"]: {c: folder / clip["files"][prefix + c] for c in channels if prefix + c in clip["files"]}
            for clip in document["audio"]
        }
        found.append(
            System(
                codec or run,
                run,
                {**stated, **facts},
                list(channels.values()),
                [StatedMetric(metric) for metric in document["metrics"]],
                settings["repeats"],
                {row["channel"]: row["bit_rate"] for row in rows if row["codec"] == codec},
                {row["channel"]: row.get("delay_ms", 0.0) for row in rows if row["codec"] == codec},
                {clip["id"]: clip for clip in document["clips"] if clip.get("codec", "") == codec},
                audio,
            )
        )
    for system in found:
        require(bool(system.clips or found[0].clips), "no clips are scored")
        different = sorted(system.clips.keys() ^ found[0].clips.keys())
        require(not different, "clip", "".join(different[:1]), "is not of all systems")
        _check(system)
    return found


def read_bootstrap(document: dict[str, Any]) -> Bootstrap:
    """The settings of a `channel.json`'s intervals; InvalidValue where one is out of range."""
    settings = document["settings"]
    bootstrap = Bootstrap(settings["bootstrap"], settings["confidence"], settings["seed"])
    bootstrap.means(np.arange(8.0)[None])  # which checks the settings
    return bootstrap


def _check(system: System) -> None:
    """InvalidValue where a number is missing or no number, or a null has no reason."""
    require(isinstance(system.repeats, int), "repeats", repr(system.repeats), "is no number of draws")
    require_at_least(1, repeats=system.repeats)
    rates = {f"the bit rate on {channel.name}": system.bit_rates[channel.name] for channel in system.channels}
    rates |= {f"the delay behind {channel.name}": system.delays_ms[channel.name] for channel in system.channels}
    worst = {f"the worst {metric.label}": metric.worst or 0.0 for metric in system.metrics}
    errors = {f"the error rate of {channel.name}": channel.error_rate for channel in system.channels}
    sizes = {f"the size of codebook {place}": size for place, size in enumerate(system.facts["codebook_sizes"])}
    _check_numbers({**rates, **worst, **errors, **sizes, "bits_per_frame": system.facts["bits_per_frame"] or None})
    for clip_id, entry in system.clips.items():
        numbers = {name: entry[name] for name in ("seconds", "bits")} | {
            "coded bit rate": entry.get("coded_bit_rate") or 0
        }
        _check_numbers({f"{name} of clip {clip_id}": value for name, value in numbers.items()})
        _check_numbers({f"the weight of clip {clip_id}": weight for weight in entry.get("weights", {}).values()})
        speaker = entry.get("speaker", "")
        require(isinstance(speaker, str), f"the speaker of clip {clip_id}", repr(speaker), "is no name")
        for channel in system.channels:
            draw, behind = entry["channels"][channel.name], f"of clip {clip_id} behind {channel.name}"
            metrics = [metric.name for metric in system.metrics]
            lists = {name: draw[name] for name in ("bit_error_rate", "erased_codewords")}
            for name, values in (lists | {metric: draw["scores"][metric] for metric in metrics}).items():
                require(
                    len(values) >= system.repeats,
                    f"{name} {behind}",
                    allowed=f"is there for {len(values)} of {system.repeats} draws",
                )
                reasons = draw["unscorable"].get(name, []) if name in metrics else []
                explained = values.count(None) <= sum(isinstance(reason, str) for reason in reasons)
                require(explained, f"{name} {behind}", allowed="is null without a reason")
                for value in values:
                    _check_numbers({f"{name} {behind}": 0 if value is None and name in metrics else value})


def _or_nan(value: float | None) -> float:
    return nan if value is None else value


def _check_numbers(values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)
        require(number, name, repr(str(value)[:40]), "is no number")


def _scores(draw: dict[str, Any], repeat: int) -> Scores:
    """One draw's scores; a metric's reasons are in the order of its unscorable draws."""
    values = {metric: found[repeat] for metric, found in draw["scores"].items()}
    reasons = {
        metric: draw["unscorable"][metric][draw["scores"][metric][:repeat].count(None)]
        for metric, value in values.items()
        if value is None
    }
    return Scores(values, reasons)
