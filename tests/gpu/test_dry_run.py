"""The promises of a training step on a GPU that need no GPU to check: synchronisations, launches, memory."""

import argparse
import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.gpu import dry_run
from tests.gpu.pretend.stubs import build, environment, unavailable
from tests.support.paths import ROOT

pytestmark = pytest.mark.skipif(bool(unavailable()), reason=f"no pretend GPU: {unavailable()}")
SYNCS_ALLOWED = 1  # in a batch: whether the gradients are finite

KNOWN = """
import json, torch
from tests.gpu.pretend import operations
from tests.gpu.pretend.device import Recorder
operations.install()
recorder = Recorder()
x, weight = torch.zeros(2, 3, 64, device="cuda"), torch.zeros(8, 3, 5, device="cuda")
with recorder.listening():
    (x[0] @ x[0].T).sum().item()  # makes the workspace of cuBLAS
    recorder.start()
    a = x + 1
    a[0, 0, 0].item()
    bool(torch.isfinite(a[0, 0, 0])) or 1 / 0
    b = a[0] @ a[0].T
    y = torch.nn.functional.conv1d(x, weight)
    big = torch.empty(10**8, device="cuda"); del big
    torch.ones(3).pin_memory().to("cuda", non_blocking=True)
    torch.ones(3).to("cuda")
    counts = recorder.stop().as_dict()
print(json.dumps(counts | {"shape": list(y.shape)}))
"""


def python(program: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A process with the pretend GPU."""
    known = {**os.environ, **environment(build()), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.run([sys.executable, "-c", program, *words], env=known, cwd=ROOT, capture_output=True, text=True)


def step(*configs: str, **changes: Any) -> dict[str, Any]:
    """The counts of an adversarial step."""
    given = {"adversarial": True, "steps": 4, "batch_size": None, "precision": None, "set": [], "strategy": "auto"}
    given |= {"teacher": None, "validate": False, "card": 1000.0}
    return dry_run.run(dry_run.prepare(list(configs), argparse.Namespace(**{**given, **changes})))


@pytest.fixture(scope="module")
def small_step() -> dict[str, Any]:
    return step("small/fsq")


def test_what_a_known_program_asks_for_is_counted():
    done = python(KNOWN)
    assert not done.returncode, done.stderr
    counts = json.loads(done.stdout)
    assert counts["shape"] == [2, 8, 60]
    assert (counts["products"], counts["library_calls"]) == (1, 1)
    assert (counts["copies_to_device"], counts["copies_to_host"]) == (2, 2)
    assert counts["synchronisations"] == 3 == sum(counts["lines"].values())
    assert 3 <= counts["launches"] <= 12
    assert sum(counts["kernels"].values()) == counts["launches"]
    assert any("CUDAFunctor" in name for name in counts["kernels"])
    assert 4e8 <= counts["memory_peak"] - counts["memory_before"] < 4.1e8


def test_more_memory_than_the_card_has_is_refused():
    done = python("import torch; torch.empty(10**9, device='cuda')", PRETEND_GPU_BYTES=str(10**9))
    assert "OutOfMemoryError" in done.stderr


def test_tensors_of_two_kinds_are_refused_as_by_cudnn():
    program = (
        "import torch; from tests.gpu.pretend import operations; operations.install(); torch.nn.functional.conv1d("
    )
    done = python(f"{program}torch.zeros(1, 1, 9, device='cuda'), torch.zeros(1, 1, 3, device='cuda').bfloat16())")
    assert done.returncode and "type" in done.stderr


def test_a_step_halts_at_most_once(small_step):
    assert small_step["synchronisations"] <= SYNCS_ALLOWED, dry_run.report(small_step)


def test_a_step_keeps_weights_optimizer_and_average_on_the_device(small_step):
    numbers = small_step["parameters"]
    kept = 4 * (4 * numbers["codec"] + 3 * numbers["discriminators"])  # weight, two of AdamW, average of the codec's
    assert kept < small_step["memory_before"] < 3 * kept
    assert small_step["memory_before"] < small_step["memory_peak"] <= small_step["memory_reserved"]


def test_the_report_names_what_was_counted(small_step):
    text = dry_run.report(small_step)
    assert f"launches {small_step['launches']}," in text and "codec 3.3 M" in text
    assert f"synchronisations: {small_step['synchronisations']}" in text


def test_preflight_estimates_what_the_step_takes(small_step):
    assert small_step["estimate"] == pytest.approx(small_step["memory_peak"], rel=0.1)


@pytest.mark.slow
def test_preflight_refuses_a_step_that_exceeds_the_card():
    """And without preflight, the step fails there."""
    with pytest.raises(dry_run.Failed, match=r"A training step needs about 0\.\d GB and the GPU has 0\.3 GB: set "):
        step("small/fsq", card=0.3, set=[("preflight.enabled", "true")])
    with pytest.raises(dry_run.Failed, match="OutOfMemoryError"):
        step("small/fsq", card=0.3)


def test_unknown_configurations_are_refused():
    with pytest.raises(SystemExit, match="no configuration nowhere"):
        dry_run.find_config("nowhere")


@pytest.mark.slow
def test_compiling_halves_the_launches(small_step):
    compiled = step("small/fsq", set=[("model.init_args.compiled", "true")], steps=6)
    assert compiled["launches"] <= small_step["launches"] / 2, f"{compiled['launches']} of {small_step['launches']}"


@pytest.mark.slow
def test_a_validation_leaves_no_trace_in_the_step(small_step):
    validated = step("small/fsq", validate=True, steps=6)
    assert validated["launches"] == small_step["launches"]
    assert validated["synchronisations"] == small_step["synchronisations"]


@pytest.mark.slow
def test_the_student_and_its_teacher_take_a_step():
    counts = step("small/student", batch_size=2)
    assert counts["parameters"]["trained"] < counts["parameters"]["codec"]


@pytest.mark.slow
@pytest.mark.parametrize("config", ["paper/neucodec", "paper/xcodec2"])
def test_the_published_models_fit_a_card_of_80_gb(config):
    """Eager; compiled, a step needs no more. 0.97 of 80 GB leaves 7 GB of such a card's 84.9 to CUDA and fragments."""
    pytest.importorskip("transformers")
    counts = step(config, set=[("model.init_args.compiled", "false")])
    assert counts["memory_peak"] < dry_run.CARD_BYTES, dry_run.report(counts)
    assert counts["estimate"] == pytest.approx(counts["memory_peak"], rel=0.1)


def test_the_command_needs_a_configuration():
    done = subprocess.run([sys.executable, "-m", "tests.gpu.dry_run"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "give a configuration" in done.stderr


def test_an_option_without_a_value_is_one_sentence(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["dry_run", "small/fsq", "--set", "model.init_args.compiled"])
    with pytest.raises(SystemExit) as stop:
        dry_run.main()
    assert stop.value.code == 2
    assert "'model.init_args.compiled' must be OPTION=VALUE" in capsys.readouterr().err


def test_a_run_that_takes_too_long_is_one_sentence(monkeypatch):
    monkeypatch.setattr(dry_run, "SECONDS", 0.1)
    with pytest.raises(dry_run.Failed, match=r"took longer than 0\.1 s and was stopped"):
        step("small/fsq")


@pytest.mark.parametrize("clips", ["0", "-1", "1.5"])
def test_a_batch_that_there_cannot_be_is_one_short_sentence(monkeypatch, capsys, clips):
    monkeypatch.setattr(sys, "argv", ["dry_run", "small/fsq", f"--batch-size={clips}"])
    with pytest.raises(SystemExit) as stop:
        dry_run.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith(f"argument --batch-size: {clips} must be a whole number above 0\n")
