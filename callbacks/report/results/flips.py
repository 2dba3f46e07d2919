"""The figure of fixed-length against entropy-coded codes from the logged run `rate`."""

from __future__ import annotations

import csv
from pathlib import Path

from callbacks.figures.flips import flip_figure
from callbacks.report.results.evaluation import read_evaluation
from callbacks.report.systems import reading
from callbacks.scoring.flips import FlippedBit


def draw_flips(run: Path, path: Path) -> None:
    """Draw the scores of `run`/channel.json and what one flip does by its flips.csv; nothing where one is missing.

    Raises:
        UnreadableFile: a file is incomplete.
    """
    import matplotlib

    evaluation, flips = read_evaluation(run / "channel.json"), run / "flips.csv"
    if evaluation is None or not flips.is_file():
        return
    with reading(flips, remedy="test the run again"):
        lines = list(csv.DictReader(flips.read_text(encoding="utf-8").splitlines()))
        damages = [
            FlippedBit(line["codec"], *(float(line[name] or "nan") for name in FlippedBit._fields[1:]))  # type: ignore[arg-type]
            for line in lines
        ]
    rows = [row for name in evaluation.systems for row in evaluation.rows(name).values()]
    metric = next(m for m in next(iter(evaluation.systems.values())).metrics if m.name == "stoi")
    title = f"Fixed-length and entropy-coded codes, {evaluation.over}"
    with matplotlib.rc_context({"svg.hashsalt": "results"}):
        flip_figure(rows, metric, damages, title=title).savefig(path, metadata={"Date": None})
