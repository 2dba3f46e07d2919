"""Training of the small codecs in bfloat16, eager and compiled, and the synchronisations of a step."""

import traceback
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import lightning as L
import torch

from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting, adversarial, build_module, compiling_with, model_block
from tests.gpu.acceptance.steps import fit, measured_fit, signal_data

SMALL = {"fsq": ("small/fsq",), "rvq": ("small/fsq", "small/rvq"), "student": ("small/student",)}
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def train(name: str, setting: Setting, report: Report, batches: int, *, compiled: bool) -> None:
    """Train one of the small codecs, adversarial from the first batch on."""
    module = build_module(adversarial(model_block(*SMALL[name]), setting, compiled=compiled))
    label = f"{name}, compiled" if compiled else name
    sizes: dict[str, Any] = {"size": setting.pick(16, 2), "seconds": setting.pick(1.0, 0.4)}
    measured_fit(label, module, setting, report=report, batches=batches, **sizes)


def train_compiled(name: str, setting: Setting, report: Report, batches: int) -> None:
    """Train one of them compiled."""
    with compiling_with(setting.backend):
        train(name, setting, report, batches, compiled=True)


def run_eager(setting: Setting, report: Report) -> None:
    """FSQ, RVQ and student, eager."""
    for name in SMALL:
        train(name, setting, report, setting.pick(100, 12), compiled=False)


def run_compiled(setting: Setting, report: Report) -> None:
    """The same, compiled."""
    for name in SMALL:
        train_compiled(name, setting, report, setting.pick(100, 12))


class SynchronisationCounter(L.Callback):
    """Counts warnings of synchronising calls from one batch to another, by the line of ours that asked for them."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.lines: Counter[str] = Counter()
        self._counting = False

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        self._counting = self.first <= trainer.global_step < self.last
        if torch.cuda.is_available():
            torch.cuda.set_sync_debug_mode("warn" if self._counting else "default")

    def show(self, message: Any, *_: Any, **__: Any) -> None:
        """Takes the place of `warnings.showwarning`."""
        if self._counting and "synchroniz" in str(message):
            self.lines[asking_line()] += 1

    @property
    def batches(self) -> int:
        """Number of batches counted."""
        return self.last - self.first


def asking_line() -> str:
    """The innermost line of this project that is being run, outside the acceptance run; else the innermost of all."""
    frames = [frame for frame in traceback.extract_stack() if not frame.filename.endswith("warnings.py")]
    outside = [frame for frame in frames if not Path(frame.filename).is_relative_to(HERE)]
    own = [frame for frame in outside if is_ours(Path(frame.filename))]
    chosen = (own or outside)[-1]
    path = Path(chosen.filename)
    shown = path.relative_to(ROOT).as_posix() if own else "/".join(path.parts[-3:])
    return f"{shown}:{chosen.lineno}"


def is_ours(path: Path) -> bool:
    """Whether a file is the project's, other than the command line of the acceptance run."""
    return path.is_relative_to(ROOT) and ".venv" not in path.parts and path != HERE.parent / "accept.py"


def run_synchronisations(setting: Setting, report: Report) -> None:
    """Synchronising calls of a steady adversarial step of small FSQ; on a CPU there are none to count."""
    first, last = setting.pick((12, 22), (2, 4))
    counter = SynchronisationCounter(first, last)
    module = build_module(adversarial(model_block("small/fsq"), setting))
    data = signal_data(module, setting, size=setting.pick(16, 2), seconds=setting.pick(1.0, 0.4))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = counter.show
        fit(module, setting, data=data, batches=last + 1, precision="bf16-mixed", callbacks=[counter])
    report.at_most("synchronisations a step", sum(counter.lines.values()) / counter.batches, 1.0)
    for line, count in counter.lines.most_common(12):
        report.value(f"a step, asked for by {line}", count / counter.batches)
