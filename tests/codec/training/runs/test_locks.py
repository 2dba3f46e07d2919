"""A run's folder has one writer: the second is refused in one sentence, a dead one holds nothing."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from torch.utils.data import DataLoader

from callbacks import RunCheckpoint
from codec.training.runs import locks
from codec.training.runs.folders import LOCK, forget_start
from codec.training.runs.locks import FolderInUse, hold, is_held, release, release_all
from tests.support.paths import ROOT
from tests.support.training import VoiceData, quiet_trainer, tiny_module

HOLD = """
import fcntl, json, os, sys, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
json.dump({"pid": os.getpid(), "host": "a", "since": "2026-01-01 00:00:00"}, file)
file.flush()
print("held", flush=True)
time.sleep(60)
"""
FORK = """
import os, sys, time
from pathlib import Path
from codec.training.runs.locks import hold
hold(Path(sys.argv[1]), what="it")
if os.fork() == 0:
    os.close(1)
    time.sleep(20)
    os._exit(0)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch):
    monkeypatch.setattr(locks, "GRACE", 0.2)
    yield
    release_all()


@contextmanager
def another(lock, code=HOLD):
    """Another process that holds the lock; killed at the end."""
    with subprocess.Popen([sys.executable, "-c", code, str(lock)], cwd=ROOT, stdout=-1) as process:
        assert process.stdout is not None and process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


class Clips(VoiceData):
    """Its validation clips in one loader."""

    def val_dataloader(self):
        return DataLoader(super().val_dataloader(), batch_size=None)


def fit(folder, **changes):
    saver = RunCheckpoint(1, dirpath=str(folder / "checkpoints"))
    settings = {
        "max_steps": 1,
        "callbacks": [saver],
        "enable_checkpointing": True,
        "default_root_dir": folder,
    } | changes
    trainer = quiet_trainer(**settings)
    trainer.fit(tiny_module(), Clips())
    return trainer


def test_a_second_run_is_refused_and_a_killed_one_is_not_in_the_way(tmp_path):
    lock = tmp_path / "checkpoints.lock"
    with another(lock) as process:
        with pytest.raises(FolderInUse) as refused:
            fit(tmp_path)
        assert is_held(lock)
        sentence = str(refused.value)
        assert str(tmp_path) in sentence and f"process {process.pid} on " in sentence and "since 20" in sentence
        assert "name of its own" in sentence and "\n" not in sentence
        assert not (tmp_path / "checkpoints").exists()
        fit(tmp_path, fast_dev_run=True)  # which writes nothing
        reader = quiet_trainer(default_root_dir=tmp_path, callbacks=[RunCheckpoint(1)], enable_checkpointing=True,
                               limit_val_batches=1.0)  # fmt: skip
        reader.validate(tiny_module(), Clips().val_dataloader())
        process.kill()  # as by -9
        process.wait()
    assert not is_held(lock)
    fit(tmp_path)
    assert (tmp_path / "checkpoints" / "last.ckpt").is_file()
    assert json.loads(lock.read_text())["pid"] == os.getpid()
    assert not is_held(lock) and not locks._held  # given up at the end


def test_one_that_is_just_ending_is_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "GRACE", 30.0)
    lock = tmp_path / "a.lock"
    with another(lock) as process:
        threading.Timer(0.5, process.kill).start()
        started = time.monotonic()
        hold(lock, what="it")
        assert time.monotonic() - started < 20


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_worker_of_a_killed_run_does_not_hold_its_lock(tmp_path):
    lock = tmp_path / "a.lock"
    with another(lock, FORK) as process:
        process.kill()
        process.wait()
        hold(lock, what="it")


def test_again_in_one_process_is_no_error_and_release_gives_it_up(tmp_path):
    lock = tmp_path / "a.lock"
    hold(lock, what="it")
    hold(lock, what="it")
    release(lock)
    release(lock)
    with another(lock):
        assert is_held(lock)


def test_what_a_failed_start_has_made_is_removed_if_it_is_empty(tmp_path):
    (tmp_path / "there").mkdir()
    locks_of = [tmp_path / name / "a.lock" for name in ("new/deep", "there", "used/deep")]
    for lock in locks_of:
        hold(lock, what="it")
    (tmp_path / "used" / "deep" / "config.yaml").touch()
    release_all()
    left = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert left == ["there", "there/a.lock", "used", "used/deep", "used/deep/a.lock", "used/deep/config.yaml"]


@pytest.mark.parametrize("more", [None, "metrics.csv", "checkpoints/last.ckpt"])
def test_a_start_that_failed_leaves_no_folder_unless_there_is_something_in_it(tmp_path, more):
    run = tmp_path / "runs" / "a"
    hold(run / LOCK, what="it")
    (run / "checkpoints").mkdir()
    for name in filter(None, ("config.yaml", "events.out.tfevents.1.host.2.0", more)):
        (run / name).touch()
    forget_start(run)
    assert run.exists() == (more is not None) and (tmp_path / "runs").exists() == (more is not None)
    if more:
        assert (run / more).exists() and (run / "config.yaml").exists()


def test_a_start_that_failed_leaves_an_earlier_folder_as_it_was(tmp_path):
    (tmp_path / "config.yaml").touch()
    hold(tmp_path / LOCK, what="it")
    forget_start(tmp_path)
    assert (tmp_path / "config.yaml").exists()


def test_a_file_system_without_locks_costs_a_warning(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locks.fcntl, "flock", flock)
    with pytest.warns(UserWarning, match=r"the folder cannot be locked \(.*No locks available"):
        hold(tmp_path / "a.lock", what="the folder")
    assert not is_held(tmp_path / "a.lock")
    with locks.locked_folder(tmp_path):
        pass
