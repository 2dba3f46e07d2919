"""Means of MUSHRA ratings with intervals over listeners, with and without those who miss the hidden reference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from callbacks.metrics.checks import require
from callbacks.report.listening.answers import Listener
from callbacks.report.listening.key import Condition, Key
from callbacks.scoring.bootstrap import Bootstrap, two_factor_mean

LEAST_REFERENCE = 90  # rating of the hidden reference
MOST_MISSED = 0.15  # share of trials


class Rating(NamedTuple):
    """The mean rating of a condition.

    Attributes:
        panel: "all" listeners, or "screened": without those whom the rule excludes.
        role: "reference", "anchor" or "system".
        system: As in the key.
        channel: As in the key.
        listeners: How many the mean is over.
        clips: How many clips each of them rated.
        mean: From 0 to 100.
        low: Lower bound of the interval over listeners: for other listeners of the same kind and these clips.
        high: Its upper bound.
        low_clips: Lower bound of the interval over listeners and clips: for other clips of the same kind, too.
        high_clips: Its upper bound.
    """

    panel: str
    role: str
    system: str
    channel: str
    listeners: int
    clips: int
    mean: float
    low: float
    high: float
    low_clips: float
    high_clips: float


class RatingDifference(NamedTuple):
    """The mean of a system's rating minus the baseline's, of one listener, clip and channel; fields as in `Rating`."""

    panel: str
    system: str
    baseline: str
    channel: str
    listeners: int
    clips: int
    mean: float
    low: float
    high: float
    low_clips: float
    high_clips: float


def missed_references(listeners: Sequence[Listener]) -> dict[str, float]:
    """Share of trials in which each listener rates the hidden reference below 90, by the listener's name."""
    hidden = Condition("reference")
    return {
        listener.name: float(np.mean([given[hidden] < LEAST_REFERENCE for given in listener.ratings.values()]))
        for listener in listeners
    }


def screened(listeners: Sequence[Listener]) -> list[Listener]:
    """The listeners who rate the hidden reference below 90 in at most 15 % of the trials (ITU-R BS.1534-3)."""
    missed = missed_references(listeners)
    return [listener for listener in listeners if missed[listener.name] <= MOST_MISSED]


def mean_ratings(listeners: Sequence[Listener], key: Key, *, panel: str, bootstrap: Bootstrap) -> list[Rating]:
    """The mean of each condition over listeners who have finished all trials; none without listeners."""
    if not listeners:
        return []
    conditions = key.conditions
    values = np.array([_values(listeners, key, found) for found in conditions])  # [conditions, listeners, clips]
    numbers = _intervals(values, key, bootstrap, least=0)
    return [Rating(panel, *found, *_size(values), *row) for found, row in zip(conditions, numbers, strict=True)]


def rating_differences(
    listeners: Sequence[Listener], key: Key, *, panel: str, baseline: str, bootstrap: Bootstrap
) -> list[RatingDifference]:
    """Every other system minus the baseline, behind each channel that both have; an empty name takes the first system.

    Raises:
        InvalidValue: The baseline is not in the test.
    """
    systems = [found for found in key.conditions if found.role == "system"]
    names = list(dict.fromkeys(found.system for found in systems))
    require(not baseline or baseline in names, "baseline", repr(baseline), f"must be one of {', '.join(names)}")
    baseline = baseline or names[0]
    standards = {found.channel: found for found in systems if found.system == baseline}
    compared = [found for found in systems if found.system != baseline and found.channel in standards]
    if not listeners or not compared:
        return []
    values = np.array([
        _values(listeners, key, found) - _values(listeners, key, standards[found.channel]) for found in compared
    ])  # fmt: skip
    numbers = _intervals(values, key, bootstrap, least=-100)
    return [
        RatingDifference(panel, found.system, baseline, found.channel, *_size(values), *row)
        for found, row in zip(compared, numbers, strict=True)
    ]


def _values(listeners: Sequence[Listener], key: Key, condition: Condition) -> np.ndarray:
    """The ratings of a condition [listeners, clips]."""
    return np.array([[float(who.ratings[trial.trial][condition]) for trial in key.trials] for who in listeners])


def _size(values: np.ndarray) -> tuple[int, int]:
    return values.shape[1], values.shape[2]


def _intervals(
    values: np.ndarray, key: Key, bootstrap: Bootstrap, *, least: float
) -> list[tuple[float, float, float, float, float]]:
    """Mean, bounds over listeners, and bounds over listeners and clips, of each row of [M, listeners, clips].

    Bounds beyond what a mean can be, from `least` to 100, are set to it.
    """
    over_listeners = bootstrap.means(values.mean(axis=2))
    speakers = [trial.speaker for trial in key.trials]
    rows = []
    for row, mean, low, high in zip(values, *over_listeners, strict=True):
        both = two_factor_mean(row, clusters=speakers, confidence=bootstrap.confidence)
        low, high, low_clips, high_clips = np.clip([low, high, both.low, both.high], least, 100).tolist()
        rows.append((float(mean), low, high, low_clips, high_clips))
    return rows
