"""Correct answers of an ABX test with exact binomial tests (Clark 1982) and intervals (Clopper and Pearson 1934)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from callbacks.report.listening.answers import Listener
from callbacks.report.listening.key import Condition, Key


class Choice(NamedTuple):
    """How often X was told.

    Attributes:
        listener: A listener's name; "all" for the trials of all listeners together.
        system: The system behind `channel` that was compared.
        channel: Its channel.
        standard: What it was compared with: "original" or a system behind the same channel.
        trials: Number of trials.
        correct: Number of correct answers.
        share: Their share; 0.5 is guessing.
        low: Lower bound of the share's exact interval.
        high: Its upper bound.
        p_value: Probability of as many or more correct answers by guessing.
    """

    listener: str
    system: str
    channel: str
    standard: str
    trials: int
    correct: int
    share: float
    low: float
    high: float
    p_value: float


def choices(listeners: Sequence[Listener], key: Key, *, confidence: float) -> list[Choice]:
    """The answers about each pair, of all listeners together and of each."""
    pairs = list(dict.fromkeys(tuple(trial.signals.values()) for trial in key.trials))
    rows = []
    for pair in pairs:
        trials = [trial.trial for trial in key.trials if tuple(trial.signals.values()) == pair]
        told = {who.name: [who.correct[trial] for trial in trials] for who in listeners}
        everyone = [answer for answers in told.values() for answer in answers]
        groups = [("all", everyone), *told.items()]
        rows += [_choice(name, pair[0], pair[1], answers, confidence) for name, answers in groups if answers]
    return rows


def _choice(name: str, found: Condition, standard: Condition, answers: Sequence[bool], confidence: float) -> Choice:
    from scipy.stats import binomtest

    correct = sum(answers)
    bounds = binomtest(correct, len(answers)).proportion_ci(confidence, method="exact")
    chance = binomtest(correct, len(answers), 0.5, alternative="greater").pvalue
    against = "original" if standard.role == "reference" else standard.system
    return Choice(
        name, found.system, found.channel, against, len(answers), correct, correct / len(answers),
        float(bounds.low), float(bounds.high), float(chance),
    )  # fmt: skip
