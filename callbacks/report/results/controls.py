"""The controls of FSQ against RVQ as text: `python -m callbacks.report.results.controls runs/pretrained/maps`."""

from __future__ import annotations

import argparse
from pathlib import Path

from callbacks.report.results.assignment import FSQ, FSQ_CONTROL, RVQ, RVQ_CONTROL, assignment
from callbacks.report.results.evaluation import read_evaluation
from callbacks.report.results.markdown import text
from codec.errors import UnreadableFile, UserError


def main(arguments: list[str] | None = None) -> None:
    """Print the tables in Markdown; a run that cannot be used gives one sentence and exit status 2."""
    parser = argparse.ArgumentParser(prog="python -m callbacks.report.results.controls", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a test with configs/evaluate/pretrained_maps.yaml")
    options = parser.parse_args(arguments)
    try:
        found = assignment(read_evaluation(options.run / "channel.json"))
        if found is None:
            needed = ", ".join((FSQ, RVQ, FSQ_CONTROL, RVQ_CONTROL))
            raise UnreadableFile(str(options.run), allowed=f"has no scores of {needed}", remedy="test the run again")
    except UserError as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    for rate, table in found.by_rate:
        print(f"{rate} of bits flipped\n{text(table)}\n")
    print(f"{text(found.parts)}\n\n{text(found.lost)}")


if __name__ == "__main__":
    main()
