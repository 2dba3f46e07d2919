"""The command line of the listening page: `python -m callbacks.report RUN... -o report.html`."""

from __future__ import annotations

import argparse
from pathlib import Path

from callbacks.report.page import build
from callbacks.report.runs import read_runs
from codec.errors import UserError


def main(arguments: list[str] | None = None) -> None:
    """Write the page and print its size; a run that cannot be used gives one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="folder of a tested run, with channel.json")
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), help="default: report.html")
    options = parser.parse_args(arguments)
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
