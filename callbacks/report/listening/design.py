"""What a listening test compares: its clips, systems and channels, within the limits of the method."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import NamedTuple

from callbacks.metrics.checks import require, require_at_least
from callbacks.report.listening.key import METHODS, Condition
from callbacks.report.runs import Runs
from codec.errors import InvalidValue

MOST_SIGNALS = 12  # in a MUSHRA trial, with hidden reference and anchors (ITU-R BS.1534-3)
LOW_ANCHOR, MID_ANCHOR = 3500.0, 7000.0  # Hz
MID_ANCHOR_RATE = 24_000  # Hz; at 16 kHz a signal without 7 to 8 kHz sounds like its reference


class Options(NamedTuple):
    """What the user chooses; an empty list takes all there is.

    Attributes:
        method: "mushra" or "abx".
        clips: Ids of clips.
        systems: Names of systems.
        channels: Names of channels.
        anchors: Cut-offs in Hz; None takes 3.5 kHz, and 7 kHz from a sample rate of 24 kHz on. Only for MUSHRA.
        match_levels: Scale every signal to the power of its reference.
        baseline: In ABX, the system that the others are compared with; empty compares with the original.
        repeats: In ABX, trials of each pair and clip.
        title: Heading of the page; should name no system.
        seed: Of the random names on the page; None draws one, which is in the key.
    """

    method: str = "mushra"
    clips: Sequence[str] = ()
    systems: Sequence[str] = ()
    channels: Sequence[str] = ()
    anchors: Sequence[float] | None = None
    match_levels: bool = False
    baseline: str = ""
    repeats: int = 4
    title: str = "Listening test"
    seed: int | None = None


class Design(NamedTuple):
    """A test that can be made.

    Attributes:
        options: With clips and seed filled in.
        conditions: Systems behind channels.
        pairs: In ABX, what is compared: the second of a pair is the standard. Empty in MUSHRA.
        notes: Sentences about what was left out.
    """

    options: Options
    conditions: list[Condition]
    pairs: list[tuple[Condition, Condition]]
    notes: list[str]


def plan(runs: Runs, options: Options) -> Design:
    """The design of a test on some runs; InvalidValue where a name is unknown or a limit is passed."""
    require(options.method in METHODS, "method", options.method, f"must be one of {', '.join(METHODS)}")
    require_at_least(1, repeats=options.repeats)
    unheard = options.method == "abx" and options.anchors is not None
    require(not unheard, "anchors", options.anchors, "are of MUSHRA alone", "leave them out, or take --method mushra")
    clips = _chosen("clip", options.clips, runs.audio_clips)
    systems = _chosen("system", options.systems, [system.name for system in runs.systems])
    heard = {system.name: system.audio for system in runs.systems}
    with_audio = [
        c.name for c in runs.channels if any(c.name in heard[name][clip] for name in systems for clip in clips)
    ]
    channels = _chosen("channel", options.channels, with_audio)
    conditions, notes = [], []
    for channel in channels:
        for name in systems:
            if all(channel in heard[name][clip] for clip in clips):
                conditions.append(Condition("system", name, channel))
            else:
                notes.append(f"{name} has no audio behind {channel}, and is left out there.")
    seed = secrets.randbits(48) if options.seed is None else options.seed
    require_at_least(0, seed=seed)
    filled = options._replace(clips=clips, seed=seed)
    if options.method == "abx":
        return Design(filled, conditions, _pairs(conditions, options.baseline), notes)
    require(not options.baseline, "baseline", options.baseline, "is for --method abx", "choose it when reading back")
    return Design(filled, conditions, [], notes)


def anchors(options: Options, sample_rate: int) -> list[float]:
    """The cut-offs of the anchors in Hz at a sample rate."""
    if options.method == "abx":
        return []
    if options.anchors is not None:
        return sorted(set(options.anchors))
    return [LOW_ANCHOR] + [MID_ANCHOR] * (sample_rate >= MID_ANCHOR_RATE)


def check_signals(design: Design, cut_offs: Sequence[float]) -> None:
    """InvalidValue where a MUSHRA trial would have more than 12 signals."""
    count = len(design.conditions) + 1 + len(cut_offs)
    if design.options.method == "mushra" and count > MOST_SIGNALS:
        names = list(dict.fromkeys(found.channel for found in design.conditions))
        raise InvalidValue(
            f"{count} signals a trial ({len(design.conditions)} of systems behind channels, the hidden reference and "
            f"{len(cut_offs)} anchors)",
            allowed=f"are more than the {MOST_SIGNALS} of ITU-R BS.1534-3",
            remedy=f"choose fewer with --channels (here: {' '.join(names)}) or --systems",
        )


def _pairs(conditions: Sequence[Condition], baseline: str) -> list[tuple[Condition, Condition]]:
    if not baseline:
        return [(condition, Condition("reference")) for condition in conditions]
    names = list(dict.fromkeys(condition.system for condition in conditions))
    require(baseline in names, "baseline", repr(baseline), f"must be one of {', '.join(names)}")
    standards = {found.channel: found for found in conditions if found.system == baseline}
    pairs = [
        (found, standards[found.channel])
        for found in conditions
        if found.system != baseline and found.channel in standards
    ]
    require(bool(pairs), "baseline", repr(baseline), "shares no channel with another system", "give two systems")
    return pairs


def _chosen(what: str, chosen: Sequence[str], found: Sequence[str]) -> list[str]:
    unknown = [name for name in chosen if name not in found]
    require(
        not unknown, what, repr(unknown[0]) if unknown else "", "has no audio in the runs", f"have: {', '.join(found)}"
    )
    require(len(set(chosen)) == len(chosen), f"{what}s", " ".join(chosen), "are named twice", "name each once")
    return [name for name in found if name in chosen] if chosen else list(found)
