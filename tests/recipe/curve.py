"""Scores along one training run against its computing time: `python -m tests.recipe.curve NAME CHECKPOINT... --dev M`.

Each checkpoint's averaged weights are scored on the clips of `--dev` without errors. The hours are those of one core:
batches times the processor seconds of a batch without and, from batch `--start` on, with discriminators. `--out` gets
NAME.csv and curve.svg, which has a line for every NAME.csv there.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from callbacks.figures.panels import panels
from callbacks.figures.quality import COLOURS, MARKERS
from codec import UserError, load_codec
from codec.checkpoints.reading import read_checkpoint
from data import DataError
from tests.recipe.trials import mean_scores
from tests.support.arguments import make_folder, positive

AXES = {"stoi": "STOI", "pesq_wb": "PESQ-WB"}


def hours(batches: int, *, seconds: float, adversarial: float, start: int) -> float:
    """Hours of one core that some batches take, given the seconds of one before and from batch `start` on."""
    return (min(batches, start) * seconds + max(0, batches - start) * adversarial) / 3600


def draw(folder: Path) -> None:
    """The scores of all runs of a folder against hours as curve.svg; the same files give the same bytes."""
    figure, axes = panels(1, len(AXES), panel=(3.4, 2.4), gaps=(0.8, 0), margins=(0.7, 0.2, 0.6, 0.4))
    for number, path in enumerate(sorted(folder.glob("*.csv"))):
        with path.open(encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: float(row["hours"]))
        for axis, (metric, label) in zip(axes, AXES.items(), strict=True):
            points = [(float(row["hours"]), float(row[metric])) for row in rows]
            style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
            axis.plot(*zip(*points, strict=True), markersize=4, linewidth=1.2, label=path.stem, **style)
            axis.set_xlabel("hours of one core")
            axis.set_title(label, fontsize=10)
            axis.grid(alpha=0.3)
    axes[0].legend(fontsize=8, frameon=False)
    with matplotlib.rc_context({"svg.hashsalt": "curve"}):
        figure.savefig(folder / "curve.svg", metadata={"Date": None})


def score(checkpoint: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A row of the table: batches, hours and mean scores of a checkpoint."""
    batches = int(read_checkpoint(checkpoint)["global_step"])
    took = hours(batches, seconds=options.seconds, adversarial=options.adversarial_seconds, start=options.start)
    scores = mean_scores(load_codec(checkpoint).eval(), options.dev)
    return {"checkpoint": f"batch {batches}", "batches": batches, "hours": round(took, 3), **scores}


def main(words: Sequence[str] | None = None) -> int:
    """Score the checkpoints, write table and figure; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.recipe.curve", description=__doc__)
    parser.add_argument("name", help="of the run: of its table and in the figure's legend")
    parser.add_argument("checkpoints", type=Path, nargs="+", metavar="checkpoint", help=".ckpt files of the run")
    parser.add_argument("--dev", required=True, help="manifest of the clips to score")
    parser.add_argument("--seconds", type=positive, required=True, help="processor seconds of a batch")
    parser.add_argument("--adversarial-seconds", type=positive, required=True, help="the same with discriminators")
    parser.add_argument("--start", type=int, required=True, help="batch at which discriminators join")
    parser.add_argument("--out", type=Path, required=True, help="folder of table and figure")
    options = parser.parse_args(words)
    try:
        make_folder("--out", options.out)
        rows = sorted((score(path, options) for path in options.checkpoints), key=lambda row: row["batches"])
        with (options.out / f"{options.name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        draw(options.out)
    except (OSError, UserError, DataError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    print(f"{options.out}: {options.name}.csv with {len(rows)} checkpoints, and curve.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
