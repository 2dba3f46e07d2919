"""The acceptance run: `python -m tests.gpu.accept [PART …]`: correctness, training and speed on a GPU."""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before CUDA starts, for the deterministic part

import argparse
import gc
import platform
import re
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.utilities.exceptions import SIGTERMException

from codec.errors import InvalidValue
from data import DataError
from tests.gpu.acceptance import PARTS, Part, compilation
from tests.gpu.acceptance.report import PartResult, Report
from tests.gpu.acceptance.setting import Setting
from tests.support.arguments import make_folder, positive

BUDGET = {"cuda": 360.0, "cpu": 1800.0}  # seconds for all parts
PATIENCE = {"cuda": 1, "cpu": 20}  # factor on the parts' limits
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "results" / "gpu"


class OutOfTime(BaseException):
    """A part has had its time; no `except Exception` of a compiler or a trainer catches it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the main thread once the seconds are over."""

    def stop(*_: Any) -> None:
        raise OutOfTime(f"stopped after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.1))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def run_part(part: Part, result: PartResult, setting: Setting, *, report: Report, seconds: float) -> None:
    """Run one part; what it raises is recorded, with the traceback on stderr."""
    started = time.perf_counter()
    try:
        with time_limit(min(part.limit * PATIENCE[setting.device.type], seconds)), warnings.catch_warnings():
            part.run(setting, report)
        result.status = "done"
    except BaseException as error:  # one part must not end the others
        if interrupted(error):
            raise KeyboardInterrupt from error
        traceback.print_exc()
        result.status = "failed"
        result.error = traceback.format_exception_only(error)[-1].strip().splitlines()[-1][:300]
    result.seconds = time.perf_counter() - started


def interrupted(error: BaseException | None) -> bool:
    """Whether an exception comes of a signal; Lightning turns Ctrl-C into `SystemExit`."""
    while error is not None:
        if isinstance(error, (KeyboardInterrupt, SIGTERMException)):
            return True
        error = error.__cause__ or error.__context__
    return False


def interrupt(*_: Any) -> None:
    """Handler of SIGTERM and SIGHUP: what Ctrl-C does."""
    raise KeyboardInterrupt


def free_memory(device: torch.device) -> None:
    """Forget compiled code and give unused memory back, so that a part does not pay for those before it."""
    torch._dynamo.reset()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("default")
        torch.cuda.empty_cache()


def machine(device: torch.device) -> dict[str, Any]:
    """Card, versions and date."""
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU ({platform.machine()})"
    return {
        "card": card,
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "cuda": torch.version.cuda or "none",
        "cores": os.cpu_count(),
    }


def run(names: Sequence[str], setting: Setting, report: Report, *, budget: float) -> bool:
    """Run parts in order until the budget of seconds is spent; returns whether all passed."""
    deadline = time.perf_counter() + budget
    try:
        return run_parts(names, setting, report, deadline=deadline)
    finally:
        compilation.stop(setting)


def run_parts(names: Sequence[str], setting: Setting, report: Report, *, deadline: float) -> bool:
    """Run parts in order until a time of `perf_counter`; returns whether all passed."""
    for name in names:
        result, left = report.begin(name), deadline - time.perf_counter()
        if left <= 0:
            result.status = "not run"
        else:
            run_part(PARTS[name], result, setting, report=report, seconds=left)
            free_memory(setting.device)
        failed = sum(check.passed is False for check in result.checks)
        verdict = "passed" if result.passed else result.error or result.status
        verdict = f"{failed} of {len(result.checks)} checks failed" if failed and not result.error else verdict
        print(f"{name}: {verdict}, {result.seconds:.1f} s", flush=True)
        report.save()
    return report.passed


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.gpu.accept", description=__doc__)
    usual = [name for name, part in PARTS.items() if not part.asked_for]
    further = ", ".join(PARTS.keys() - set(usual))
    listed = f"by default {', '.join(usual)}; further {further}"
    parser.add_argument("parts", nargs="*", metavar="PART", default=usual, help=listed)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", choices=["cuda", "cpu"])
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON and Markdown files")
    parser.add_argument("--scale", choices=["small", "full"], help="full on a GPU, small on a CPU by default")
    parser.add_argument("--budget", type=positive, help="seconds for all parts together, 360 on a GPU by default")
    options = parser.parse_args(words)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(str(InvalidValue("part", unknown[0], f"must be one of {', '.join(PARTS)}")))
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no CUDA device here: give --device cpu.")
    try:
        make_folder("--out", options.out)
    except DataError as error:
        parser.error(str(error))
    options.parts = list(dict.fromkeys(options.parts))
    return options


def main(words: Sequence[str] | None = None) -> int:
    """Run the parts and write the report; returns 1 if something failed, else 0."""
    options = arguments(words)
    device = torch.device(options.device)
    full = (options.scale or {"cuda": "full", "cpu": "small"}[options.device]) == "full"
    budget = BUDGET[options.device] if options.budget is None else options.budget
    facts = machine(device) | {"scale": "full" if full else "small"}
    if device.type == "cpu":
        print("No GPU is used: the parts run in small form on the CPU, against the CPU.", flush=True)
    report = Report(options.out, re.sub(r"[^a-z0-9]+", "_", str(facts["card"]).lower()).strip("_"), facts)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        with tempfile.TemporaryDirectory() as folder:
            passed = run(options.parts, Setting(device, full, Path(folder)), report, budget=budget)
    except KeyboardInterrupt:
        print("Stopped by a signal; what was found so far is written.", file=sys.stderr)
        return 130
    print(report.table())
    print(f"{'passed' if passed else 'FAILED'}: {report.folder / report.name}.json, .md")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
