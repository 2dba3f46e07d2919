"""The parts of the acceptance run, by name: first those that time nothing, beside which the steps are compiled."""

from collections.abc import Callable
from typing import NamedTuple

from tests.gpu.acceptance import (
    activation,
    ceilings,
    command,
    compilation,
    evaluation,
    exactness,
    geometry,
    parity,
    training,
)
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting


class Part(NamedTuple):
    """A part of the run: what it does, after how many seconds it is stopped, and whether it has to be asked for."""

    run: Callable[[Setting, Report], None]
    limit: float
    asked_for: bool = False


PARTS: dict[str, Part] = {
    "ceilings": Part(ceilings.run, 30),
    "parity": Part(parity.run, 60),
    "compilation": Part(compilation.start, 10),
    "evaluation": Part(evaluation.run_scores, 60),
    "streaming": Part(evaluation.run_streaming, 30),
    "synchronisations": Part(training.run_synchronisations, 30),
    "command": Part(command.run, 60),
    "resume": Part(exactness.run_resume, 75),
    "fp16": Part(exactness.run_fp16, 40),
    "compilation-ends": Part(compilation.wait, 120),
    "activation": Part(activation.run, 60),
    "training": Part(training.run_eager, 90),
    "geometry": Part(geometry.run_eager, 90),
    "compiled": Part(training.run_compiled, 150),
    "neucodec": Part(geometry.run_neucodec, 120),
    "geometry-compiled": Part(geometry.run_compiled, 300, asked_for=True),
}
