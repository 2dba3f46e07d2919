"""The parts of the acceptance run, by name, the most important first."""

from collections.abc import Callable
from typing import NamedTuple

from tests.gpu.acceptance import activation, ceilings, command, evaluation, exactness, geometry, parity, training
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting


class Part(NamedTuple):
    """A part of the run: what it does, and after how many seconds it is stopped."""

    run: Callable[[Setting, Report], None]
    limit: float


PARTS: dict[str, Part] = {
    "ceilings": Part(ceilings.run, 30),
    "parity": Part(parity.run, 60),
    "activation": Part(activation.run, 60),
    "training": Part(training.run_eager, 90),
    "synchronisations": Part(training.run_synchronisations, 30),
    "evaluation": Part(evaluation.run_scores, 60),
    "streaming": Part(evaluation.run_streaming, 30),
    "command": Part(command.run, 60),
    "resume": Part(exactness.run_resume, 60),
    "fp16": Part(exactness.run_fp16, 40),
    "geometry": Part(geometry.run_eager, 90),
    "geometry-compiled": Part(geometry.run_compiled, 150),
    "compiled": Part(training.run_compiled, 150),
    "neucodec": Part(geometry.run_neucodec, 120),
}
