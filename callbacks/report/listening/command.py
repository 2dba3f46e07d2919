"""The commands `--listening-test`, which makes a blind page, and `--read-listening`, which reads its results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from callbacks.report.listening.build import BlindTest, build
from callbacks.report.listening.design import LOW_ANCHOR, MID_ANCHOR, Options
from callbacks.report.listening.key import METHODS, read_key, write_key
from callbacks.report.listening.summary import read_listening
from callbacks.report.runs import read_runs
from codec.errors import InvalidValue, UserError, counted

PROGRAM = "python -m callbacks.report"
LONG = 12.0  # s, of a clip (ITU-R BS.1534-3)


def make(arguments: Sequence[str]) -> None:
    """Write a listening test and its key; what cannot be done gives one sentence and exit status 2."""
    parser = _make_parser()
    chosen = parser.parse_args(arguments)
    output: Path = chosen.output
    key_file = output.with_suffix(".key.json")
    options = Options(
        chosen.method, chosen.clips, chosen.systems, chosen.channels, chosen.anchors, chosen.match_levels,
        chosen.baseline, chosen.repeats, chosen.title, chosen.seed,
    )  # fmt: skip
    try:
        runs = read_runs(chosen.runs)
        test = build(runs, options)
        page = test.html.encode()
        _keep_other(key_file, test)
        write_key(key_file, test.key)
        output.write_bytes(page)
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(f"{output}: {len(page) / 1e6:.2f} MB for the listeners; {key_file}: the key, which stays with you")
    for line in [*_described(test), *runs.notes, *test.notes]:
        print(line)


def _keep_other(key_file: Path, test: BlindTest) -> None:
    """InvalidValue where the file is the key of another test, whose results could not be read without it."""
    if key_file.exists() and read_key(key_file) != test.key:
        raise InvalidValue(
            str(key_file), allowed="is the key of another test", remedy="name another file with -o, or remove the key"
        )


def _described(test: BlindTest) -> list[str]:
    key = test.key
    trials, clips = counted(len(key.trials), "trial"), counted(len(key.clips), "clip")
    signals = f" of {len(key.trials[0].signals)} signals" if key.method == "mushra" else ""
    lines = [f"{key.method.upper()}: {trials}{signals} on {clips}, levels {key.facts['levels']}"]
    lines += [f"  {condition.label}" for condition in key.conditions]
    if test.longest > LONG:
        lines.append(f"The longest clip lasts {test.longest:.1f} s; ITU-R BS.1534-3 advises {LONG:.0f} s at most.")
    return lines


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} --listening-test", description="A blind listening test of runs.")
    add = parser.add_argument
    add("runs", nargs="+", type=Path, metavar="RUN", help="folder of a tested run, with channel.json and audio")
    add("-o", "--output", type=Path, default=Path("listening.html"), help="default: listening.html")
    add("--method", choices=METHODS, default="mushra", help="rate several signals a trial, or tell two apart")
    add("--clips", nargs="+", default=[], metavar="CLIP", help="ids; default: all with audio")
    add("--systems", nargs="+", default=[], metavar="SYSTEM", help="default: all")
    add("--channels", nargs="+", default=[], metavar="CHANNEL", help="such as bsc-0 bsc-0.1; default: all with audio")
    add(
        "--anchors", nargs="*", type=float, metavar="HZ",
        help=f"cut-offs of the low-pass anchors; default: {LOW_ANCHOR:g}, and {MID_ANCHOR:g} at 24 kHz and more",
    )  # fmt: skip
    add("--match-levels", action="store_true", help="give each signal the power of its original; default: as decoded")
    add(
        "--baseline",
        default="",
        metavar="SYSTEM",
        help="in ABX: what the others are compared with; default: the original",
    )
    add("--repeats", type=int, default=4, help="in ABX: trials of each pair and clip; default: 4")
    add("--title", default="Listening test", help="heading of the page; name no system in it")
    add("--seed", type=int, help="of the random names on the page; default: drawn, and written into the key")
    return parser


def read(arguments: Sequence[str]) -> None:
    """Print the scores of listeners, and write them if asked to; errors as in `make`."""
    parser = argparse.ArgumentParser(prog=f"{PROGRAM} --read-listening", description="Scores of a listening test.")
    parser.add_argument("key", type=Path, metavar="KEY", help="the .key.json written beside the page")
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS", help="the files that listeners saved")
    parser.add_argument("-o", "--output", type=Path, help="listening.csv: also writes all answers, .json and .svg")
    parser.add_argument(
        "--baseline", default="", metavar="SYSTEM", help="of the differences; default: the first system"
    )
    chosen = parser.parse_args(arguments)
    try:
        summary = read_listening(chosen.key, chosen.results, baseline=chosen.baseline)
        if chosen.output:
            summary.write(chosen.output)
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(summary.text())
