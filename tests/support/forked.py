"""Command lines of `train.py` in forked children, which share the time that the imports take."""

import contextlib
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import train
from tests.support.paths import ROOT

HANGS = 124  # the status of a child that was ended for its time


class Outcome(NamedTuple):
    """How a command ended: its exit status, what it wrote to both streams, and the seconds it took."""

    status: int
    output: str
    seconds: float


def command_line(words: Sequence[str] | str, folder: Path, *, limit: float = 120.0) -> Outcome:
    """`python train.py WORDS…` in `folder`, as a child of this process.

    The process must not have run a backward pass nor have other threads at work, which a fork would lose.
    """
    given = shlex.split(words) if isinstance(words, str) else list(words)

    def run() -> None:
        sys.argv = [str(ROOT / "train.py"), *given]
        sys.modules["__main__"].__spec__ = None  # other ranks are started by the script's name
        train.main()

    return forked(run, folder, limit=limit)


def forked(function: Callable[[], None], folder: Path, *, limit: float = 120.0) -> Outcome:
    """Call a function in a forked child that works in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    log, start = folder / "output.txt", time.monotonic()
    child = os.fork()
    if not child:
        _run_and_exit(function, folder, log)
    status = _wait(child, start + limit)
    return Outcome(status, log.read_text(errors="replace"), time.monotonic() - start)


def _run_and_exit(function: Callable[[], None], folder: Path, log: Path) -> None:
    status = 1
    try:
        os.setsid()
        with open(log, "wb", buffering=0) as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
        os.chdir(folder)
        function()
        status = 0
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


def _wait(child: int, deadline: float) -> int:
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return HANGS
