"""Makes a listening test of tested runs: the blind page, which knows its signals by random names, and its key."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from callbacks.report.listening.design import Design, Options, anchors, check_signals, plan
from callbacks.report.listening.key import Condition, Key, Trial
from callbacks.report.listening.sounds import fit, flac, headroom, level_gain, low_pass, read_mono
from callbacks.report.runs import Runs
from codec.errors import InvalidValue

LARGEST = 100e6  # bytes of a page: a phone still opens it
REPORT = "callbacks.report"  # the package of what several pages share
SCRIPTS = ("state.js", "player.js", "mushra.js", "abx.js", "screens.js")


class BlindTest(NamedTuple):
    """A listening test: its page as HTML, its key, the seconds of its longest clip, and notes for the experimenter."""

    html: str
    key: Key
    longest: float
    notes: list[str]


class _Clip(NamedTuple):
    """The signals of a clip, equally long, by condition; their rate in Hz; and their gains in dB."""

    signals: dict[Condition, np.ndarray]
    rate: int
    gains: dict[str, float]


def build(runs: Runs, options: Options) -> BlindTest:
    """The test of some runs.

    Raises:
        InvalidValue: A name is unknown, a trial has too many signals, or the page would be too large.
        UnreadableFile: An audio file is damaged, empty or of several channels.
    """
    design = plan(runs, options)
    options = design.options
    generator = np.random.default_rng([options.seed or 0, 0x115])
    names = _names(generator)
    clips = {clip_id: _clip(runs, design, clip_id) for clip_id in options.clips}
    trials: list[Trial] = []
    shown: list[dict[str, Any]] = []
    sounds: dict[str, str] = {}
    for clip_id, clip in clips.items():
        known = {condition: next(names) for condition in clip.signals}
        sounds |= {known[condition]: flac(signal, clip.rate) for condition, signal in clip.signals.items()}
        speaker = str(runs.systems[0].clips[clip_id].get("speaker", ""))
        pairs: list[tuple[Condition, ...]] = [pair for pair in design.pairs for _ in range(options.repeats)]
        for compared in pairs or [tuple(known)]:
            trial = Trial(next(names), clip_id, speaker, {known[condition]: condition for condition in compared})
            entry: dict[str, Any] = {"trial": trial.trial, "signals": sorted(trial.signals)}
            if options.method == "mushra":
                entry["reference"] = next(names)
                sounds[entry["reference"]] = sounds[known[Condition("reference")]]
            trials.append(trial)
            shown.append(entry)
        _check_size(sum(map(len, sounds.values())), design)
    shown.sort(key=lambda entry: str(entry["trial"]))
    content = {
        "method": options.method,
        "title": options.title,
        "trials": shown,
        "sounds": dict(sorted(sounds.items())),
    }
    test = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    facts = _facts(runs, design, clips)
    key = Key(test, options.method, options.title, options.seed or 0, facts, trials)
    longest = max(len(signal) / clip.rate for clip in clips.values() for signal in clip.signals.values())
    return BlindTest(_page({"test": test, **content}), key, longest, design.notes)


def _names(generator: np.random.Generator) -> Any:
    """Random names of eight hexadecimal digits, none twice."""
    used: set[int] = set()
    while True:
        number = int(generator.integers(2**32))
        if number not in used:
            used.add(number)
            yield f"{number:08x}"


def _clip(runs: Runs, design: Design, clip_id: str) -> _Clip:
    """The signals that a clip's trials need."""
    original, original_rate = read_mono(runs.originals[clip_id])
    audio = {system.name: system.audio[clip_id] for system in runs.systems}
    needed = {condition for pair in design.pairs for condition in pair} or set(design.conditions)
    read = {found: read_mono(audio[found.system][found.channel]) for found in design.conditions if found in needed}
    rate = max([original_rate, *(rate for _, rate in read.values())])
    reference = fit(original, original_rate, new_rate=rate, length=-(-len(original) * rate // original_rate))
    signals = {Condition("reference"): reference}
    cut_offs = anchors(design.options, rate)
    check_signals(design, cut_offs)
    for cut_off in cut_offs:
        signals[Condition("anchor", f"{cut_off / 1000:g} kHz")] = low_pass(reference, rate, cut_off)
    for found, (signal, own_rate) in read.items():
        signals[found] = fit(signal, own_rate, new_rate=rate, length=len(reference))
    matched = design.options.match_levels
    gains = {found: level_gain(signal, reference) if matched else 1.0 for found, signal in signals.items()}
    common = headroom([gains[found] * signal for found, signal in signals.items()])
    gains = {found: gain * common for found, gain in gains.items()}
    decibels = {found.label: round(20 * float(np.log10(gain)), 2) for found, gain in gains.items()}
    return _Clip({found: gains[found] * signal for found, signal in signals.items()}, rate, decibels)


def _facts(runs: Runs, design: Design, clips: Mapping[str, _Clip]) -> dict[str, Any]:
    return {
        "runs": sorted({system.run for system in runs.systems}),
        "levels": "matched to the original" if design.options.match_levels else "as decoded",
        "repeats": design.options.repeats if design.options.method == "abx" else 1,
        "sample_rate": {clip_id: clip.rate for clip_id, clip in clips.items()},
        "gains_db": {clip_id: clip.gains for clip_id, clip in clips.items()},
    }


def _check_size(size: int, design: Design) -> None:
    if size > LARGEST:
        raise InvalidValue(
            f"The page would be larger than {LARGEST / 1e6:.0f} MB with {len(design.options.clips)} clips and "
            f"{len(design.conditions)} systems behind channels",
            remedy="choose fewer with --clips, --systems or --channels, or make several tests",
        )


def _page(content: Mapping[str, Any]) -> str:
    """The page; its Content-Security-Policy admits its own script and style by their hashes, and nothing else."""
    folder = files(__package__).joinpath("page")
    style = folder.joinpath("style.css").read_text(encoding="utf-8")
    scripts = [files(REPORT).joinpath("generator.js"), *map(folder.joinpath, SCRIPTS)]
    script = "\n".join(file.read_text(encoding="utf-8") for file in scripts)
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(folder.joinpath("page.html").read_text(encoding="utf-8"))
    data = json.dumps(content).replace("<", "\\u003c")  # so that no title ends the script element
    return template.render(
        title=content["title"],
        method=content["method"],
        count=len(content["trials"]),
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        data=Markup(data),
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
