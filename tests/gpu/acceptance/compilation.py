"""Compilation of the small codecs' steps in processes of their own, beside the parts that time nothing.

Compiling is work of a CPU core for one or two minutes; what it makes lies in a cache of files, where the part that
times compiled steps finds it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from tests.gpu.acceptance import training
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting
from tests.support.paths import ROOT

FIRST = "slowest of the first batches beyond that, s"  # name of the check that says what compilation took


def start(setting: Setting, report: Report) -> None:
    """Start the processes; until `stop`, this one leaves them most of the cores: more threads than cores stall all."""
    names = setting.pick(list(training.SMALL), ["student"])
    cores = os.cpu_count() or 1
    threads = str(max(1, cores // 8))
    variables = {"TORCHINDUCTOR_COMPILE_THREADS": threads, "OMP_NUM_THREADS": threads}
    setting.folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        command = [sys.executable, "-m", __name__, name, setting.device.type, setting.pick("full", "small")]
        with open(log(setting, name), "wb") as file:
            setting.jobs[name] = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **variables}, stdout=file, stderr=subprocess.STDOUT
            )
    torch.set_num_threads(max(1, min(setting.threads, cores // 3)))
    report.value("processes started", len(setting.jobs))


def stop(setting: Setting) -> None:
    """End what is left of the processes, and take all cores."""
    for job in setting.jobs.values():
        job.kill()
        job.wait()
    torch.set_num_threads(setting.threads)
    setting.jobs.clear()


def log(setting: Setting, name: str) -> Path:
    """Where a process writes."""
    return setting.folder / f"compilation of {name}.log"


def wait(setting: Setting, report: Report) -> None:
    """Wait for the processes, and record what compilation added to their first batches, with the cache as it was."""
    if not setting.jobs:
        report.value("processes", "none: nothing was started")
    try:
        for name, job in setting.jobs.items():
            status, lines = job.wait(), log(setting, name).read_text(encoding="utf-8", errors="replace").splitlines()
            if status or not lines:
                report.true(f"{name}: compiled", (lines or [f"status {status}"])[-1][:200], "compiles", passed=False)
            else:
                report.at_least(f"{name}: compiled beside the parts before, s", json.loads(lines[-1]), 0.0)
    finally:
        stop(setting)


def main(name: str, device: str, scale: str) -> None:
    """One process: a few batches of a compiled step; prints the seconds that compilation added."""
    with tempfile.TemporaryDirectory() as folder:
        report = Report(Path(folder), "compilation", {})
        report.begin(name)
        training.train_compiled(name, Setting(torch.device(device), scale == "full", Path(folder)), report, 4)
    (seconds,) = (check.measured for check in report.parts[-1].checks if check.name.endswith(FIRST))
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(*sys.argv[1:])
