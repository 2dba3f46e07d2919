"""Command lines of `train.py` in forked children, which share the time that the imports take."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import train
from tests.support.paths import ROOT

OUTCOMES = "outcomes.json"
HANGS = 124  # the status of a child that was ended for its time


class Outcome(NamedTuple):
    """How a command ended: its exit status, what it wrote to both streams, and the seconds it took."""

    status: int
    output: str
    seconds: float


def command_lines(
    commands: Sequence[Sequence[str]], folder: Path, *, at_once: int = 2, limit: float = 120.0, shared: bool = False
) -> list[Outcome]:
    """`python train.py WORDS…` for each command, as children of one new process, some at a time.

    Each works in a folder of its own below `folder`, or with `shared` in `folder` itself. The new process has run no
    backward pass, whose threads a fork would lose.
    """
    folder.mkdir(parents=True, exist_ok=True)
    task = [[list(map(str, words)) for words in commands], str(folder.absolute()), at_once, limit, shared]
    module = [sys.executable, "-m", "tests.support.forked"]
    environment = {key: value for key, value in os.environ.items() if key != "WANDB_SERVICE"}  # of another test's runs
    done = subprocess.run(
        module, input=json.dumps(task), text=True, cwd=ROOT, env=environment, capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return [Outcome(*outcome) for outcome in json.loads((folder / OUTCOMES).read_text())]


def run_forked(
    commands: Sequence[Sequence[str]], folder: Path, at_once: int, limit: float, shared: bool
) -> list[Outcome]:
    """The same, as children of this process."""
    waiting, running, ended = list(range(len(commands))), dict[int, _Child](), dict[int, Outcome]()
    while waiting or running:
        while waiting and len(running) < at_once:
            number = waiting.pop(0)
            place, log = folder / ("" if shared else str(number)), f"output{number if shared else ''}.txt"
            running[number] = _fork(list(commands[number]), place, log, limit)
        for number, child in list(running.items()):
            outcome = child.outcome()
            if outcome is not None:
                ended[number] = outcome
                del running[number]
        time.sleep(0.02)
    return [ended[number] for number in range(len(commands))]


class _Child(NamedTuple):
    process: int
    log: Path
    start: float
    limit: float

    def outcome(self) -> Outcome | None:
        """How it ended; None while it runs. It is ended at its limit."""
        found, status = os.waitpid(self.process, os.WNOHANG)
        seconds = time.monotonic() - self.start
        if not found and seconds < self.limit:
            return None
        if not found:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process, signal.SIGKILL)
            os.waitpid(self.process, 0)
        return Outcome(
            os.waitstatus_to_exitcode(status) if found else HANGS, self.log.read_text(errors="replace"), seconds
        )


def _fork(words: list[str], folder: Path, log: str, limit: float) -> _Child:
    folder.mkdir(parents=True, exist_ok=True)

    def run() -> None:
        sys.argv = [str(ROOT / "train.py"), *words]
        sys.modules["__main__"].__spec__ = None  # other ranks are started by the script's name
        train.main()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if not child:
        _run_and_exit(run, folder, folder / log)
    return _Child(child, folder / log, time.monotonic(), limit)


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
            if "wandb" in sys.modules:
                sys.modules["wandb"].finish()  # as at the exit of a process
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    commands, place, *options = json.load(sys.stdin)
    outcomes = run_forked(commands, Path(place), *options)
    (Path(place) / OUTCOMES).write_text(json.dumps(outcomes))
