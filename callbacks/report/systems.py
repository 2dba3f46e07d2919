"""A codec and its link as a tested run's `channel.json` states them, with the scores and the audio of every clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from callbacks.channel_scores import ClipScores
from callbacks.metrics import SpeechMetric
from callbacks.scoring_worker import Scores


@dataclass
class Setting:
    """A channel as `channel.json` states it; see `callbacks.channel_scores.ChannelLabel`."""

    name: str
    family: str
    error_rate: float
    curve: str


class StatedMetric(SpeechMetric):
    """A metric as `channel.json` states it: it has a name and a unit, and its scores are there already."""

    def __init__(self, name: str, label: str, *, unit: str, higher_is_better: bool) -> None:
        self.name, self.label, self.unit, self.higher_is_better = name, label, unit, higher_is_better

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        raise NotImplementedError(f"{self.label} is read from channel.json, not computed")


@dataclass
class System:
    """One codec and its link in one run.

    Attributes:
        name: Unique on the page.
        run: Name of its run on the page.
        facts: What `channel.json` says of it, and of the evaluation.
        channels: In the order of the run.
        metrics: In the order of the run.
        repeats: Draws per clip and channel.
        bit_rates: Bits per second that cross each channel, by its name.
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
    clips: dict[str, dict[str, Any]]
    audio: dict[str, dict[str, Path]]

    def scores(self, clips: Sequence[str], channels: Sequence[Setting], *, repeats: int) -> list[ClipScores]:
        """The scores of some clips behind some channels, of the first draws."""
        return [self._clip(clip_id, channels, repeats) for clip_id in clips]

    def _clip(self, clip_id: str, channels: Sequence[Setting], repeats: int) -> ClipScores:
        entry = self.clips[clip_id]
        draws = [entry["channels"][channel.name] for channel in channels]
        return ClipScores(
            clip_id,
            codec=self.name,
            seconds=entry["seconds"],
            bits=entry["bits"],
            words=entry["bits"] // self.facts["bits_per_frame"] * len(self.facts["codebook_sizes"]),
            bit_rates=np.array([self.bit_rates[channel.name] for channel in channels]),
            signals=np.arange(len(draws) * repeats).reshape(len(draws), repeats),
            bit_errors=np.array([draw["bit_error_rate"][:repeats] for draw in draws]),
            erased_words=np.array([draw["erased_words"][:repeats] for draw in draws]),
            scores=[_scores(draw, repeat) for draw in draws for repeat in range(repeats)],
        )


def read_systems(folder: Path, document: dict[str, Any], run: str) -> list[System]:
    """The systems in a `channel.json`; `run` names the run, and a system that has no name itself."""
    rows, settings = document["rows"], document["settings"]
    channels = {
        row["channel"]: Setting(row["channel"], row["family"], row["bit_error_rate"], row["curve"]) for row in rows
    }
    facts = {"stage": document["stage"].removeprefix("TrainerFn.").lower(), "step": document["step"]}
    facts |= {key: settings[key] for key in ("repeats", "seed")}
    codecs = document.get("codecs") or {"": document["codec"]}
    found = []
    for codec, stated in codecs.items():
        before = f"{codec}, " if codec else ""
        audio = {
            clip["id"]: {c: folder / clip["files"][before + c] for c in channels if before + c in clip["files"]}
            for clip in document["audio"]
        }
        found.append(
            System(
                codec or run,
                run,
                {**stated, **facts},
                list(channels.values()),
                [StatedMetric(**metric) for metric in document["metrics"]],
                settings["repeats"],
                {row["channel"]: row["bit_rate"] for row in rows if row["codec"] == codec},
                {clip["id"]: clip for clip in document["clips"] if clip.get("codec", "") == codec},
                audio,
            )
        )
    return found


def _scores(draw: dict[str, Any], repeat: int) -> Scores:
    """One draw's scores; the reasons of a metric stand in the order of the draws that it could not score."""
    values = {metric: found[repeat] for metric, found in draw["scores"].items()}
    reasons = {
        metric: draw["unscorable"][metric][draw["scores"][metric][:repeat].count(None)]
        for metric, value in values.items()
        if value is None
    }
    return Scores(values, reasons)
