"""Hyper-parameter sweeps by any number of processes at once: `train.py sweep --config configs/sweeps/….yaml`."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn


def sweep(parse: Callable[[], None], *, command: Sequence[str] | None = None) -> None:
    """Run trials of the sweep that the command line names until all are done, and list them; `--list` only lists.

    Args:
        parse: reads `sys.argv` as the command line of a run does; given `--print_config`, it exits after that.
        command: what a trial runs, in front of `fit --config …`; this program by default.

    Raises:
        SystemExit: the sweep cannot run; stderr has one sentence, and the status is 2, as for all mistakes.
    """
    try:
        from codec.cli.sweeps.worker import main

        main(sys.argv[2:], parse, command=command or [sys.executable, sys.argv[0]])
    except ValueError as error:
        refuse(str(error))


def refuse(message: str) -> NoReturn:
    """End the command with a sentence."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


__all__ = ["sweep"]
