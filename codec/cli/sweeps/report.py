"""The trials of a sweep as a table, best first, and the command lines that run the best ones again."""

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from codec.cli.sweeps.library import FrozenTrial, TrialState
from codec.cli.sweeps.settings import Sweep
from codec.cli.sweeps.study import Direction


def report(sweep: Sweep, trials: Sequence[FrozenTrial], *, commands: int = 3) -> str:
    """All trials in a table, best first, and the command lines that run the best ones again."""
    names = short_names([option.path for option in sweep.options])
    order = ranked(trials, sweep.direction)
    rows = [
        {
            "trial": trial.number,
            sweep.metric: "" if trial.value is None else f"{trial.value:.4g}",
            **{name: _shown(trial.params.get(path, "")) for path, name in names.items()},
            "state": trial.state.name.lower(),
            "folder": sweep.folder_of(trial),
            "reason": trial.user_attrs.get("reason", ""),
        }
        for trial in order
    ]
    best = [trial for trial in order if trial.state == TrialState.COMPLETE][:commands]
    lines = [format_table(rows)]
    for trial in best:
        again = ["--trainer.logger.init_args.name", f"{sweep.study}/{sweep.folder_of(trial).name}_again"]
        lines.append(f"again: python {shlex.join([Path(sys.argv[0]).name, *sweep.arguments(trial), *again])}")
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def ranked(trials: Sequence[FrozenTrial], direction: Direction) -> list[FrozenTrial]:
    """Completed trials, best first, then the others by number."""
    sign = -1 if direction == "maximize" else 1
    done = sorted((t for t in trials if t.state == TrialState.COMPLETE), key=lambda t: sign * (t.value or 0.0))
    return [*done, *(t for t in trials if t.state != TrialState.COMPLETE)]


def short_names(paths: Sequence[str]) -> Mapping[str, str]:
    """The shortest ends of dotted paths that tell them apart."""

    def end(path: str, words: int) -> str:
        return ".".join(path.split(".")[-words:])

    names: dict[str, str] = {}
    for path in paths:
        lengths = range(1, path.count(".") + 1)
        unique = (end(path, n) for n in lengths if sum(end(other, n) == end(path, n) for other in paths) == 1)
        names[path] = next(unique, path)
    return names


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows with the same keys as aligned text."""
    if not rows:
        return "no trials yet"
    lines = [[str(key) for key in rows[0]], *([str(value) for value in row.values()] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)
