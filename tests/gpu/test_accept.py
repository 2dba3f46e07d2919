"""The acceptance run in its CPU form, and that each kind of fault it is there for is found."""

import contextlib
import json
import signal
import subprocess
import time
import warnings

import pytest
import torch

from callbacks import SISDR
from tests.gpu import accept
from tests.gpu.acceptance import (
    PARTS,
    Part,
    activation,
    compilation,
    evaluation,
    exactness,
    geometry,
    parity,
    training,
)
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting, adversarial, build_module, model_block, overlay
from tests.gpu.acceptance.signals import SignalData, crops
from tests.gpu.acceptance.steps import Watch, fit, signal_data

CPU = torch.device("cpu")


@pytest.fixture
def setting(tmp_path):
    return Setting(CPU, False, tmp_path / "work")


@pytest.fixture
def report(tmp_path):
    report = Report(tmp_path / "out", "cpu", {"card": "none"})
    report.begin("part")
    return report


def failed(report):
    return [check.name for check in report.parts[-1].checks if check.passed is False]


@pytest.mark.slow
def test_every_part_passes_in_small_form_on_a_cpu(tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        status = accept.main(["--device", "cpu", "--out", str(tmp_path), *PARTS])
    output = capsys.readouterr().out
    assert status == 0, output
    (path,) = tmp_path.glob("*.json")
    document = json.loads(path.read_text())
    assert document["passed"]
    assert [part["name"] for part in document["parts"]] == list(PARTS)
    assert all(part["status"] == "done" and part["checks"] for part in document["parts"])
    assert path.with_suffix(".md").read_text() in output


def test_a_part_that_raises_is_recorded_and_the_others_go_on(monkeypatch, tmp_path, setting):
    def broken(*_):
        raise RuntimeError("first line\nCUDA error: last line")

    monkeypatch.setattr(accept, "PARTS", {
        "broken": Part(broken, 10), "good": Part(lambda _, report: report.at_most("value", 1.0, 2.0), 10),
    })  # fmt: skip
    report = Report(tmp_path, "cpu", {})
    assert not accept.run(["broken", "good"], setting, report, budget=60)
    parts = json.loads((tmp_path / "cpu.json").read_text())["parts"]
    assert [(part["status"], part["error"]) for part in parts] == [("failed", "CUDA error: last line"), ("done", "")]


def test_the_report_is_written_after_each_part(monkeypatch, tmp_path, setting):
    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(accept, "PARTS", {"good": Part(lambda *_: None, 10), "killed": Part(killed, 10)})
    with pytest.raises(KeyboardInterrupt):
        accept.run(["good", "killed"], setting, Report(tmp_path, "cpu", {}), budget=60)
    assert [part["name"] for part in json.loads((tmp_path / "cpu.json").read_text())["parts"]] == ["good"]


def test_a_part_is_stopped_at_its_limit_also_where_exceptions_are_caught(monkeypatch, tmp_path, setting):
    def endless(*_):
        end = time.perf_counter() + 20
        while time.perf_counter() < end:
            with contextlib.suppress(Exception):
                time.sleep(0.01)

    monkeypatch.setattr(accept, "PARTS", {"endless": Part(endless, 0.01), "next": Part(lambda *_: None, 10)})
    report = Report(tmp_path, "cpu", {})
    assert not accept.run(["endless", "next"], setting, report, budget=60)
    assert report.parts[0].seconds < 10
    assert "stopped after" in report.parts[0].error
    assert report.parts[1].passed


def test_parts_beyond_the_budget_are_not_run_and_that_is_no_success(monkeypatch, tmp_path, setting):
    monkeypatch.setattr(accept, "PARTS", {"first": Part(lambda *_: None, 10)})
    report = Report(tmp_path, "cpu", {})
    assert not accept.run(["first"], setting, report, budget=0.0)
    assert report.parts[0].status == "not run"
    assert "not run" in (tmp_path / "cpu.md").read_text()


@pytest.mark.parametrize("words", [["partiy"], ["--device", "cuda"]])
def test_a_wrong_word_ends_in_one_sentence(monkeypatch, capsys, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        accept.arguments(words)
    assert stop.value.code == 2
    assert {"partiy": "must be one of ceilings", "--device": "no CUDA device"}[words[0]] in capsys.readouterr().err


def test_values_that_are_no_numbers_fail_and_are_texts_in_the_file(tmp_path):
    report = Report(tmp_path, "cpu", {})
    report.begin("part").status = "done"
    report.at_most("loss", float("nan"), 1.0)
    report.at_least("share", float("nan"), 1.0)
    report.save()
    (part,) = json.loads((tmp_path / "cpu.json").read_text(), parse_constant=pytest.fail)["parts"]
    assert [check["passed"] for check in part["checks"]] == [False, False]
    assert not report.passed
    assert "| part | loss | nan | ≤ 1 | **failed** |" in report.table()


# -- faults that the parts find ------------------------------------------------------------------------------------


def other_weights(monkeypatch, noise):
    """Copies, which stand for the device, get other weights."""
    plain = parity.moved

    def changed(module, device):
        module = plain(module, device)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(noise * torch.randn_like(parameter))
        return module

    monkeypatch.setattr(parity, "moved", changed)


def test_other_latents_codes_and_audio_fail(monkeypatch, setting, report):
    other_weights(monkeypatch, 0.2)
    torch.manual_seed(0)
    (audio,) = crops(1, size=2, seconds=0.5, rates=(16_000,), clips=2)
    parity.compare_codec("codec", parity.full_codec(setting), audio, setting=setting, report=report)
    assert len(failed(report)) == 3


def test_other_scores_and_gradients_fail(monkeypatch, setting, report):
    other_weights(monkeypatch, 0.05)
    torch.manual_seed(0)
    (audio,) = crops(1, size=2, seconds=0.2, rates=(16_000,), clips=2)
    for name, module in parity.discriminators(setting).items():
        parity.compare_discriminator(name, module, audio, setting=setting, report=report)
    assert len(failed(report)) == 2 * len(parity.discriminators(setting)) >= 4


def test_an_activation_without_its_filters_fails(monkeypatch, setting, report):
    monkeypatch.setattr(activation, "own", lambda module, x: module.activation(x))
    activation.compare(setting, report)
    assert "output, 37 samples, float32, relative error" in failed(report)


def test_the_definition_in_convolutions_is_the_modules(setting, report):
    activation.compare(setting, report)
    assert not failed(report)


def test_gradients_that_are_clipped_while_they_are_scaled_fail(monkeypatch, setting, report):
    found = iter(([2.0, 3.0], [2.0 * 65_536, 3.0]))
    monkeypatch.setattr(exactness.Norms, "medians", lambda self: next(found))
    monkeypatch.setattr(exactness, "fit", lambda *_, **__: None)
    exactness.run_fp16(setting, report)
    assert failed(report) == ["gradient norm of the generator, fp16 over bf16"]


def test_a_resumed_run_that_differs_fails(monkeypatch, setting, report):
    def trained(*_, stop=None, deterministic=False):
        return {"weight": torch.ones(4) + (1e-3 if stop else 0.0)}

    monkeypatch.setattr(exactness, "trained", trained)
    exactness.run_resume(setting, report)
    assert [name for name in failed(report) if "resumed" in name] == failed(report)
    assert len(failed(report)) == 2


def test_other_scores_on_the_device_fail(monkeypatch, setting, report):
    metric = SISDR()
    scores = iter((0.0, 0.01, 0.0))
    monkeypatch.setattr(evaluation, "metrics", lambda: [metric])
    monkeypatch.setattr(type(metric), "score", lambda self, *_, **__: current)
    plain = evaluation.scores

    def drifting(*arguments):
        nonlocal current
        current = next(scores)
        return plain(*arguments)

    current = 0.0
    monkeypatch.setattr(evaluation, "scores", drifting)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluation.run_scores(setting, report)
    assert len(failed(report)) == 3  # behind each of three channels


def test_synchronisations_are_counted_by_the_line_that_asks_for_them(monkeypatch, setting, report):
    """Stand-in for the device's warning: three in each of the batches counted, from a line of this file."""
    from codec.training.codec_module import CodecModule

    plain = CodecModule._log_training

    def synchronising(self, losses):
        for _ in range(3):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        plain(self, losses)

    monkeypatch.setattr(CodecModule, "_log_training", synchronising)
    training.run_synchronisations(setting, report)
    counts = {check.name: check.measured for check in report.parts[-1].checks}
    assert counts["synchronisations a step"] == 3
    assert failed(report) == ["synchronisations a step"]
    assert any("tests/gpu/test_accept.py:" in name for name in counts)


def test_a_loss_that_rises_fails(monkeypatch, setting, report):
    from tests.gpu.acceptance import steps

    monkeypatch.setattr(Watch, "values", lambda self: [1.0, 1.0, 2.0, 2.0])
    module = build_module(adversarial(model_block("small/fsq"), setting))
    steps.measured_fit("fsq", module, setting, report=report, size=1, seconds=0.4, batches=5, precision="32-true")
    assert failed(report) == ["fsq: distance of the last batches"]


# -- what the parts are made of ------------------------------------------------------------------------------------


def test_shares_of_time_add_up_and_every_part_has_one(setting):
    module = build_module(adversarial(model_block("small/fsq"), setting))
    parts, flops = geometry.PartTimes(CPU, 1), geometry.FlopCount(1)
    backward = torch.autograd.backward
    fit(module, setting, data=signal_data(module, setting, size=1, seconds=0.4), batches=3, callbacks=[parts, flops])
    shares = parts.shares()
    assert sum(shares.values()) == pytest.approx(1)
    assert {"encoder", "quantizer", "decoder", "backward passes", "optimizer steps", "rest"} <= shares.keys()
    assert all(share > 0 for share in shares.values())
    assert flops.total > 1e8
    assert torch.autograd.backward is backward


def test_batches_are_functions_of_their_number_at_both_rates():
    first = crops(3, size=2, seconds=0.4, rates=(16_000, 24_000), clips=2)
    again = crops(3, size=2, seconds=0.4, rates=(16_000, 24_000), clips=2)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert [tuple(wave.shape) for wave in first] == [(2, 1, 6400), (2, 1, 9600)]
    assert not torch.equal(first[0], crops(4, size=2, seconds=0.4, rates=(16_000,), clips=2)[0])
    assert first[0].abs().amax(-1).min() > 0.01
    stream = iter(SignalData(2, 0.4, rates=(16_000,), clips=2).train_dataloader())
    assert torch.equal(next(stream)["audio"], crops(0, size=2, seconds=0.4, rates=(16_000,), clips=2)[0])
    assert torch.equal(next(stream)["audio"], crops(1, size=2, seconds=0.4, rates=(16_000,), clips=2)[0])


def test_a_block_with_a_class_replaces_another_and_the_rest_is_merged():
    below = {"a": {"class_path": "X", "init_args": {"n": 1}}, "b": {"c": 1, "d": 2}}
    above = {"a": {"class_path": "Y"}, "b": {"d": 3}}
    assert overlay(below, above) == {"a": {"class_path": "Y"}, "b": {"c": 1, "d": 3}}
    assert overlay(below, {"a": {"init_args": {"m": 2}}})["a"] == {"class_path": "X", "init_args": {"n": 1, "m": 2}}


def test_a_process_that_fails_to_compile_is_a_failed_check_and_none_outlives_the_run(monkeypatch, setting, report):
    monkeypatch.setattr(compilation, "__name__", "tests.gpu.acceptance.no_such_module")
    compilation.start(setting, report)
    compilation.wait(setting, report)
    assert failed(report) == ["student: compiled"]
    assert "no_such_module" in report.parts[-1].checks[-1].measured
    monkeypatch.setattr(compilation, "__name__", "tests.gpu.acceptance.compilation")
    monkeypatch.setattr(accept, "PARTS", {"compilation": PARTS["compilation"]})
    started = []

    class Noted(subprocess.Popen):
        def __init__(self, *arguments, **options):
            super().__init__(*arguments, **options)
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Noted)
    threads = torch.get_num_threads()
    accept.run(["compilation"], setting, report, budget=60)
    assert [process.poll() is not None for process in started] == [True]
    assert torch.get_num_threads() == threads
    assert not setting.jobs


def test_the_full_geometry_is_compiled_only_when_asked_for():
    assert "geometry-compiled" not in accept.arguments([]).parts
    assert accept.arguments(["geometry-compiled"]).parts == ["geometry-compiled"]


def test_a_signal_ends_the_run_also_where_lightning_makes_an_exit_of_it(monkeypatch, tmp_path, capsys):
    def stopped(*_):
        try:
            signal.raise_signal(signal.SIGTERM)
        except KeyboardInterrupt:
            raise SystemExit(1)  # noqa: B904, as Lightning does

    def refused(*_):
        raise SystemExit(2)  # of a command line

    ran = []
    monkeypatch.setattr(accept, "PARTS", {
        "refused": Part(refused, 10), "stopped": Part(stopped, 10), "next": Part(lambda *_: ran.append(1), 10),
    })  # fmt: skip
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        assert accept.main(["--device", "cpu", "--out", str(tmp_path)]) == 130
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert not ran
    assert "refused: SystemExit: 2" in capsys.readouterr().out


def test_what_compiles_is_ended_where_waiting_for_it_takes_too_long(monkeypatch, setting, report):
    threads = torch.get_num_threads()
    setting.jobs["student"] = subprocess.Popen(["sleep", "60"])
    compilation.log(setting, "student").parent.mkdir()
    job = setting.jobs["student"]
    monkeypatch.setattr(accept, "PARTS", {"compilation-ends": Part(compilation.wait, 0.1)})
    assert not accept.run(["compilation-ends"], setting, report, budget=60)
    assert job.poll() is not None and not setting.jobs
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("words", [["--budget", "nan"], ["--budget", "-1"], ["--out", "FILE"]])
def test_bad_values_are_refused_before_anything_runs(tmp_path, capsys, words):
    (tmp_path / "file").touch()
    words = [word.replace("FILE", str(tmp_path / "file")) for word in words]
    with pytest.raises(SystemExit) as stop:
        accept.arguments(["--device", "cpu", *words])
    assert stop.value.code == 2
    assert f"{words[1]} must be a " in capsys.readouterr().err


def test_a_part_named_twice_runs_once():
    assert accept.arguments(["--device", "cpu", "parity", "parity"]).parts == ["parity"]
