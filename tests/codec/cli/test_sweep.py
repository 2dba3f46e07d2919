"""Sweeps: shared trials, workers that die, runs that fail, and mistakes in one sentence; the runs are stand-ins."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

optuna = pytest.importorskip("optuna")

from optuna.trial import TrialState  # noqa: E402

import train  # noqa: E402
from codec.cli.sweeps import sweep  # noqa: E402
from codec.cli.sweeps.report import short_names  # noqa: E402
from codec.cli.sweeps.space import Option, nested  # noqa: E402
from codec.cli.sweeps.study import SharedStudy  # noqa: E402
from tests.support.paths import ROOT  # noqa: E402

RUN = '''"""Stands in for `train.py`: does what the option `model.act` of the last configuration says."""
import sys, time, yaml
from pathlib import Path
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter
overlay = Path([word for word in sys.argv if word.endswith("trial.yaml")][0])
act, again = yaml.safe_load(overlay.read_text())["model"]["act"], "--ckpt_path" in sys.argv
if isinstance(act, dict):
    act = act["init_args"]["value"]
def log(value, step):
    writer = EventFileWriter(str(overlay.parent))
    scalar = Summary(value=[Summary.Value(tag="val/mel", simple_value=value)])
    writer.add_event(Event(step=step, wall_time=time.time(), summary=scalar))
    writer.close()
if act == "crash":
    sys.exit("error: out of memory")
if act == "bad":
    log(99.0, 1)
if act in ("hang", "bad") and not again:
    (overlay.parent / "hangs").touch()
    time.sleep(600)
if act == "stop" and not again:
    sys.exit(75)
if act != "silent":
    log(7.0, 1)
    log(1.5 if isinstance(act, str) and act != "nan" else float(act), 2)
'''
ALL_ONCE = {"class_path": "optuna.samplers.BruteForceSampler"}
WORKER = (
    "import sys; from codec.cli.sweeps import sweep; sweep(lambda: sys.exit(0), command=[sys.executable, sys.argv[0]])"
)


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Write a sweep over `acts` of the stand-in, and work on it here: start(acts, *words, **other keys of the YAML)."""
    script = tmp_path / "run.py"
    script.write_text(RUN)

    def work(acts, *words, parse=lambda: sys.exit(0), **settings):
        write(tmp_path, acts, **settings)
        monkeypatch.setattr(sys, "argv", [str(script), "sweep", "--config", str(tmp_path / "sweep.yaml"), *words])
        sweep(parse)

    return work


def write(folder: Path, acts, **settings) -> None:
    defaults = {
        "study": "s",
        "configs": ["base.yaml"],
        "metric": "val/mel",
        "direction": "minimize",
        "trials": 9,
        "folder": str(folder / "runs"),
        "space": {"model.act": {"choices": acts}},
        "sampler": ALL_ONCE,
        "heartbeat": 0.2,
        "grace": 3.0,
    }
    (folder / "sweep.yaml").write_text(yaml.safe_dump({**defaults, **settings}))


def shared(folder: Path, storage: str = "{}/runs/s/journal.log", **settings) -> SharedStudy:
    return SharedStudy(storage.format(folder), "s", direction="minimize", **settings)


def choose(trial: optuna.Trial) -> float:
    return trial.suggest_float("x", 0, 1)


def wait_for(condition, seconds: float = 600.0) -> None:
    end = time.time() + seconds
    while not condition():
        assert time.time() < end, "waited too long"
        time.sleep(0.02)


def test_every_choice_runs_once_and_failures_are_kept_with_their_reason(start, tmp_path, capsys):
    block = {"class_path": "codec.FSQ", "init_args": {"value": 0.5}}
    acts = {"fine": 2.5, "block": block, "crash": "crash", "nan": "nan", "silent": "silent"}
    start(acts, overrides={"trainer.max_steps": 3, "model": {"seed": 4}})
    found = {t.params["model.act"]: t for t in shared(tmp_path).trials()}
    assert len(found) == len(shared(tmp_path).trials()) == 5
    assert {name: trial.value for name, trial in found.items() if trial.value is not None} == {
        "fine": 2.5,
        "block": 0.5,
    }
    reasons = {name: trial.user_attrs.get("reason") for name, trial in found.items()}
    assert reasons["crash"] == "exit status 1: error: out of memory"
    assert reasons["nan"] == "val/mel is nan"
    assert reasons["silent"] == "the run has logged no metric at all"

    number = f"{found['block'].number:04d}"
    written = yaml.safe_load((tmp_path / "runs/s" / number / "trial.yaml").read_text())
    assert written["model"] == {"seed": 4, "act": block}
    assert written["trainer"]["max_steps"] == 3
    assert written["trainer"]["logger"]["init_args"]["name"] == f"s/{number}"

    capsys.readouterr()
    start(acts, "--list")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines[1:3]] == ["block", "fine"]
    assert lines[6] == (
        f"again: python run.py fit --config base.yaml --config {tmp_path}/runs/s/{number}/trial.yaml "
        f"--trainer.logger.init_args.name s/{number}_again"
    )
    start(acts)  # all have been tried
    assert len(shared(tmp_path).trials()) == 5


@pytest.mark.slow
def test_a_killed_workers_trial_is_run_again_by_another_and_each_counts_once(tmp_path):
    (tmp_path / "run.py").write_text(RUN)
    write(tmp_path, ["hang", 2.0, 3.0], grace=60.0)  # far longer than a busy machine keeps a living worker silent
    words = [sys.executable, "-c", f"import sys; sys.argv[0] = {str(tmp_path / 'run.py')!r}; {WORKER}"]
    words += ["sweep", "--config", str(tmp_path / "sweep.yaml")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    runs = tmp_path / "runs/s"
    workers = [subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL) for _ in range(2)]
    try:
        wait_for(lambda: any(runs.glob("*/hangs")))
        (busy,) = runs.glob("*/hangs")
        processes = {int(p.name): p for p in Path("/proc").glob("[0-9]*") if str(busy.parent) in command_line(p)}
        (run,) = processes
        parent = int((Path("/proc") / str(run) / "stat").read_text().rsplit(")", 1)[1].split()[1])
        victim, other = sorted(workers, key=lambda worker: worker.pid != parent)
        assert victim.pid == parent
        victim.kill()
        wait_for(lambda: not command_line(processes[run]))  # the run does not outlive its worker
        assert other.wait(600) == 0  # perhaps before the kill, when the trial's worker was alive
        time.sleep(1.1)  # the last worker, alone now, holds one that was silent for a second to be dead
        last = [*words, "--grace", "1"]
        assert subprocess.run(last, env=environment, stdout=subprocess.DEVNULL, timeout=600).returncode == 0
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    trials = shared(tmp_path).trials()
    done = {t.params["model.act"]: t for t in trials if t.state == TrialState.COMPLETE}
    assert {name: trial.value for name, trial in done.items()} == {"hang": 1.5, "2.0": 2.0, "3.0": 3.0}
    (dead,) = [trial for trial in trials if trial.state == TrialState.FAIL]
    assert len(trials) == 4 and dead.user_attrs["reason"].startswith("its worker gave no sign of life for")
    assert done["hang"].user_attrs["first"] == dead.number


def command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_text()
    except OSError:
        return ""


def test_a_worker_that_is_told_to_stop_hands_its_trial_back(start, tmp_path):
    def stop() -> None:
        wait_for(lambda: any(tmp_path.glob("runs/s/*/hangs")))
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop).start()
    with pytest.raises(SystemExit, match="SIGTERM"):
        start(["hang"])
    start(["hang"])
    first, again = shared(tmp_path).trials()
    assert first.user_attrs["reason"] == "its worker ended: stopped by SIGTERM"
    assert (again.value, again.user_attrs["first"]) == (1.5, first.number)


def test_a_run_that_was_told_to_stop_goes_on(start, tmp_path):
    start(["stop"])
    assert [trial.value for trial in shared(tmp_path).trials()] == [None, 1.5]


def test_a_pruner_ends_a_run(start, tmp_path):
    start(["bad"], pruner={"class_path": "optuna.pruners.ThresholdPruner", "init_args": {"upper": 50.0}})
    (trial,) = shared(tmp_path).trials()
    assert (trial.state, trial.intermediate_values) == (TrialState.PRUNED, {1: 99.0})


def test_two_workers_at_the_last_trial_run_one(tmp_path):
    one, two = shared(tmp_path), shared(tmp_path)
    ask = one.study.ask

    def ask_late() -> optuna.Trial:
        assert two.claim(1, choose) is not None
        return ask()

    one.study.ask = ask_late
    assert one.claim(1, choose) is None
    assert [trial.number for trial in one.trials()] == [0]


def test_values_of_another_trial_are_not_run_twice(tmp_path):
    study = shared(tmp_path)
    claimed = [study.claim(9, lambda trial: trial.suggest_categorical("x", ["only"])) for _ in range(2)]
    assert claimed[0] is not None and claimed[1] is None


@pytest.mark.parametrize("storage", ["{}/journal.log", "sqlite:///{}/study.db"])
def test_a_dead_workers_trial_is_queued_as_often_as_allowed(tmp_path, monkeypatch, storage):
    study = shared(tmp_path, storage, retries=1)
    for attempt in (1, 2):
        trial = study.claim(1, choose)
        assert trial is not None and trial.user_attrs.get("attempt", 1) == attempt
        assert study.alive(trial)
        assert not study.unfinished(time.time() - 60) and study.unfinished(time.time() + 60)
        study.retry_dead()
        assert study.alive(trial)  # it lives
        with monkeypatch.context() as later:
            later.setattr("codec.cli.sweeps.study.time", SimpleNamespace(time=lambda: 2e9))
            study.retry_dead()
            study.retry_dead()
        assert not study.alive(trial)
    assert study.claim(1, choose) is None
    first, again = study.trials()
    assert first.params == again.params and first.state == again.state == TrialState.FAIL


def test_surplus_suggestions_that_are_refused_leave_nothing_running(tmp_path):
    def refuse(trial: optuna.Trial) -> None:
        raise ValueError("other choices")

    study = shared(tmp_path)
    with pytest.raises(ValueError, match="other choices"):
        study.claim(1, refuse)
    assert not study.unfinished(time.time() + 60)


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"space": {}}, "The search space of s is empty: name at least one option in `space`."),
    ({"space": {"lr": {"low": 2, "high": 1}}}, "low must be below high, log needs low above 0 and no step"),
    ({"space": {"lr": {"lo": 2, "high": 1}}}, "The search space gives lr as {'high': 1, 'lo': 2}: write {choices:"),
    ({"trials": 0}, "trials 0 must be at least 1."),
    ({"grace": 0.5}, "grace 0.5 s must be at least three heartbeats (0.6 s)."),
    ({"metric": "val/mell"}, "has never logged 'val/mell': did you mean 'val/mel' as the sweep's metric?"),
    ({"storage": "sqlite:////nowhere/at/all.db"}, "The storage sqlite:////nowhere/at/all.db cannot be used ("),
    ({"storage": "run.py/journal"}, "The storage run.py/journal cannot be used ("),
    ({"direction": "maximize"}, "is to minimize, not maximize: name the new study differently."),
])  # fmt: skip
def test_a_mistake_ends_in_one_sentence(start, tmp_path, monkeypatch, capsys, settings, sentence):
    monkeypatch.chdir(tmp_path)
    shared(tmp_path)
    with pytest.raises(SystemExit) as stop:
        start([1.0], **settings)
    said = capsys.readouterr().err.rstrip("\n").splitlines()[-1]
    assert stop.value.code == 2
    assert said.startswith("error: ") and sentence in said


@pytest.mark.parametrize(("path", "nearest"), [
    ("model.init_args.codec.init_args.quantizer.init_args.levls", "'levels' instead of 'levls'"),
    ("model.init_args.optimization.optimizr", "'optimization.optimizer' instead of 'optimization.optimizr'"),
    ("data.batchsize", "'data.batch_size' instead of 'batchsize'"),
    ("traner.max_steps", "'trainer.max_steps' instead of 'traner.max_steps'"),
])  # fmt: skip
def test_an_unknown_option_names_the_nearest(start, capsys, path, nearest):
    with pytest.raises(SystemExit) as stop:
        start([1], parse=train.main, configs=[str(ROOT / "configs/quickstart.yaml")], space={path: {"choices": [1]}})
    said = capsys.readouterr().err.rstrip("\n")
    assert stop.value.code == 2
    assert f"Did you mean {nearest}?" in said and f"with {path} 1 is" in said


def test_the_shipped_sweep_is_accepted(monkeypatch, tmp_path, capsys):
    """All of its choices parse; no trial is run."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("codec.cli.sweeps.worker.work", lambda *_, **__: None)
    words = ["--config", "configs/sweeps/quantizer.yaml", "--folder", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", ["train.py", "sweep", *words])
    train.main()
    assert capsys.readouterr().out == "no trials yet\n"


def test_without_optuna_one_sentence_says_how_to_get_it(start, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "optuna", None)
    for module in ("worker", "library"):
        monkeypatch.delitem(sys.modules, f"codec.cli.sweeps.{module}", raising=False)
    with pytest.raises(SystemExit) as stop:
        start([1.0])
    assert stop.value.code == 2
    assert "Sweeps need the optuna package: pip install '.[sweep]'." in capsys.readouterr().err


def test_options_suggest_what_their_form_says():
    trial = optuna.trial.FixedTrial({"a": 3, "b": 0.25, "c": "x"})
    assert Option("a", {"low": 1, "high": 5}).suggest(trial) == 3
    assert Option("b", {"low": "1e-2", "high": 1, "log": True}).suggest(trial) == 0.25
    assert Option("c", {"choices": {"x": {"class_path": "Y"}}}).suggest(trial) == {"class_path": "Y"}
    assert Option("a", {"low": 1, "high": 5}).samples() == [1, 5]
    assert Option("d", {"choices": [[1, 2], None]}).samples() == [[1, 2], None]


def test_a_block_of_another_class_replaces_the_one_before():
    old = {"q": {"class_path": "A", "init_args": {"x": 1}}}
    assert nested({**old, "q.init_args.y": 2})["q"]["init_args"] == {"x": 1, "y": 2}
    assert nested({"m": old, "m.q": {"class_path": "B"}}) == {"m": {"q": {"class_path": "B"}}}


def test_short_names_tell_options_apart():
    names = short_names(["model.optimizer.lr", "model.judge.lr", "data.batch_size", "lr"])
    assert list(names.values()) == ["optimizer.lr", "judge.lr", "batch_size", "lr"]
