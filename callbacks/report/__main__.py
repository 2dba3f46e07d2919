"""The command line of the listening page: `python -m callbacks.report RUN... -o report.html`.

`--listening-test` makes a blind listening test of runs, `--read-listening` reads the scores of its listeners; `--demo`
makes a page on which one hears codecs behind noisy channels.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from callbacks.report.demo import command as demo
from callbacks.report.listening import command as listening
from callbacks.report.page import build
from callbacks.report.runs import read_runs
from codec.errors import UserError

COMMANDS = {"--listening-test": listening.make, "--read-listening": listening.read, "--demo": demo.make}

USAGE = """{prog} RUN [RUN ...] [-o OUTPUT]
       {prog} --listening-test ...
       {prog} --read-listening ...
       {prog} --demo [-o OUTPUT] ...
       {prog} [COMMAND] --help"""


def main(arguments: list[str] | None = None) -> None:
    """Write the page and print its size; a run that cannot be used gives one sentence and exit status 2."""
    given = sys.argv[1:] if arguments is None else arguments
    for flag, run in COMMANDS.items():
        if flag in given:
            return run([argument for argument in given if argument != flag])
    parser = argparse.ArgumentParser(
        prog="python -m callbacks.report", description=__doc__, usage=USAGE.format(prog="python -m callbacks.report")
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a tested run, with channel.json")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default: report.html")
    parser.add_argument(
        "--listening-test", action="store_true", help="a blind test instead; see --listening-test --help"
    )
    parser.add_argument("--read-listening", action="store_true", help="its scores; see --read-listening --help")
    parser.add_argument("--demo", action="store_true", help="a page to hear the channel; see --demo --help")
    options = parser.parse_args(given)
    if options.listening_test or options.read_listening or options.demo:  # abbreviated
        parser.error(f"write {', '.join(COMMANDS)} in full")
    try:
        runs = read_runs(options.runs)
        page = build(runs).encode()
        options.output.write_bytes(page)
    except (OSError, UserError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    print(
        f"{options.output}: {len(page) / 1e6:.2f} MB, {len(runs.audio_clips)} clips to hear of {len(runs.clips)} "
        f"scored, systems: {len(runs.systems)}"
    )


if __name__ == "__main__":
    main()
