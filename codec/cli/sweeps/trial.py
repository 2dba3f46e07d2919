"""One trial of a sweep: an ordinary run in a process of its own, and the score that it has logged."""

import contextlib
import ctypes
import difflib
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from codec.errors import InvalidValue
from codec.training.distributed.stop_signals import STOPPED

LOG = "log.txt"
SECONDS_TO_SAVE = 60.0  # between asking a run to stop and killing it
PR_SET_PDEATHSIG = 1


class RunFailed(Exception):
    """The run ended with an error; the message says which, in one sentence."""


class RunStopped(Exception):
    """The run was told to stop by someone else, and has saved its state."""


def run(command: Sequence[str], folder: Path, *, watch: Callable[[], None], every: float) -> None:
    """Run a command with its output in `folder`/log.txt, and call `watch` at intervals of `every` seconds.

    When this function or this process ends, the run ends too: it gets SIGTERM, and is killed a minute later.

    Raises:
        RunFailed: the exit status is not 0.
        RunStopped: the exit status says that the run can go on.
        Exception: what `watch` raises, once the run has ended.
    """
    with open(folder / LOG, "ab") as log:
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )
    try:
        while True:
            watch()
            try:
                status = process.wait(every)
                break
            except subprocess.TimeoutExpired:
                pass
    finally:
        _stop(process)
    if status == STOPPED:
        raise RunStopped("the run was told to stop")
    if status:
        raise RunFailed(f"exit status {status}: {_last_line(folder / LOG)}")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End a run and all processes that it has started."""
    for kind, seconds in ((signal.SIGTERM, SECONDS_TO_SAVE), (signal.SIGKILL, None)):
        if process.poll() is None:
            os.killpg(process.pid, kind)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(seconds)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ") or "Error: " in line]
    return (errors or lines or ["it printed nothing"])[-1][:300]


def logged_values(folder: Path, metric: str) -> list[tuple[int, float]]:
    """(batch, value) of each time that the run in `folder` has logged the metric, from its TensorBoard files.

    Raises:
        InvalidValue: the run has logged other metrics, but not this one.
    """
    events = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    names = events.Tags()["scalars"]
    if metric in names:
        return [(event.step, event.value) for event in events.Scalars(metric)]
    if not names:
        return []
    nearest = difflib.get_close_matches(metric, names, n=1, cutoff=0.0)[0]
    raise InvalidValue(
        f"The run in {folder} has never logged {metric!r}", remedy=f"did you mean {nearest!r} as the sweep's metric?"
    )
