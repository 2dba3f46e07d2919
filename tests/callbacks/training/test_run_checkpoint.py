"""Checkpoints of a run: what is kept, what a resumed run makes up for, signals, and a full disk."""

import os
import re
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.fabric.plugins.environments import SLURMEnvironment
from lightning.pytorch import Callback
from lightning.pytorch.loggers.logger import Logger
from torch.utils.data import DataLoader

from callbacks import SISDR, CodebookUsage, CodecEMA, RunCheckpoint, ScoringPool
from codec.checkpoints.files import SafeCheckpointIO
from codec.errors import InvalidValue
from codec.training.distributed.stop_signals import STOPPED
from tests.support.training import VoiceData, quiet_trainer, tiny_module

BATCHES = 8


class Notes(Logger):
    """Remembers every number it is given: {(name, step): value}, a later one in the place of an earlier."""

    name, version = "notes", ""

    def __init__(self):
        super().__init__()
        self.values = {}

    def log_hyperparams(self, params):
        pass

    def log_metrics(self, metrics, step=None):
        self.values |= {(name, step): value for name, value in metrics.items()}


class Clips(VoiceData):
    """Its validation clips in one loader."""

    def val_dataloader(self):
        return DataLoader(super().val_dataloader(), batch_size=None)


class At(Callback):
    """Does something at a hook, when the batch is `batch`."""

    def __init__(self, hook, batch, action):
        def act(trainer, *_):
            if trainer.global_step == batch and not trainer.sanity_checking:
                action(trainer)

        setattr(self, hook, act)


def fail(trainer):
    raise RuntimeError("the end")


def send(number):
    return lambda trainer: os.kill(os.getpid(), number)


def fit(folder, *callbacks, notes=None, resume=None, accumulate=1, **changes):
    saver = next((c for c in callbacks if isinstance(c, RunCheckpoint)), None) or RunCheckpoint(3, dirpath=str(folder))
    rest = [c for c in callbacks if c is not saver]
    settings = {
        "max_steps": BATCHES,
        "callbacks": [*rest, CodecEMA(0.9), CodebookUsage(4), saver],
        "plugins": [SafeCheckpointIO()],
        "logger": notes if notes is not None else False,
        "log_every_n_steps": 1,
        "enable_checkpointing": True,
        "val_check_interval": 4,
        "check_val_every_n_epoch": None,
        "limit_val_batches": 1.0,
        "num_sanity_val_steps": 1,
        "default_root_dir": folder.parent,
    } | changes
    module = tiny_module(discriminator_start=2, accumulate=accumulate)
    trainer = quiet_trainer(**settings)
    trainer.fit(module, Clips(), ckpt_path=resume)
    return trainer


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def batch_of(path):
    return torch.load(path, weights_only=True)["global_step"]


def test_what_is_kept(tmp_path):
    """Every third batch, before a validation and at the end; of these the newest, two unless told otherwise."""
    folder, all_of_them = tmp_path / "kept", tmp_path / "all"
    fit(folder, max_steps=7)
    assert names(folder) == ["batch=6.ckpt", "batch=7.ckpt", "last.ckpt"]
    assert batch_of(folder / "last.ckpt") == 7
    assert (folder / "last.ckpt").samefile(folder / "batch=7.ckpt")
    fit(all_of_them, RunCheckpoint(3, 10, dirpath=str(all_of_them)), max_steps=7)
    assert names(all_of_them) == [*(f"batch={n}.ckpt" for n in (3, 4, 6, 7)), "last.ckpt"]


def test_a_run_gone_back_keeps_its_own_newest(tmp_path):
    folder = tmp_path / "run"
    fit(folder, RunCheckpoint(1, dirpath=str(folder)), max_steps=4)
    for name in ("batch=30.ckpt", "batch=40.ckpt"):
        (folder / name).write_bytes(b"of batches that were given up")
    fit(folder, RunCheckpoint(1, dirpath=str(folder)), max_steps=6, resume=folder / "batch=4.ckpt")
    abandoned = [f"batch={n}.abandoned" for n in (30, 40)]  # neither counted, nor lost
    assert names(folder) == [*abandoned, "batch=5.ckpt", "batch=6.ckpt", "last.ckpt"]
    assert batch_of(folder / "last.ckpt") == 6


def test_the_best_checkpoints_are_kept_too(tmp_path):
    class Scores(Callback):
        def on_validation_epoch_end(self, trainer, pl_module):
            step = trainer.global_step
            if step not in (2, 10):  # no value: that of before must not count for these
                pl_module.log("score", {4: 3.0, 6: 9.0, 8: 4.0, 12: 5.0, 14: float("nan")}.get(step, 0.0))

    folder = tmp_path / "best"
    saver = RunCheckpoint(100, monitor="score", best=2, dirpath=str(folder))
    saver.scores[0] = -1.0  # as if there had been a validation
    fit(folder, saver, Scores(), max_steps=16, val_check_interval=2)
    assert names(folder) == [f"batch={n}.ckpt" for n in (12, 14, 16, 6)] + ["best.ckpt", "last.ckpt"]
    assert batch_of(folder / "best.ckpt") == 6
    assert saver.scores == {0: -1.0, 4: 3.0, 6: 9.0, 8: 4.0, 12: 5.0, 16: 0.0}


def test_a_monitor_that_nobody_logs_is_named(tmp_path):
    saver = RunCheckpoint(monitor="val/mell", dirpath=str(tmp_path))
    with pytest.raises(
        ValueError, match=r"monitor val/mell of RunCheckpoint is not logged: set it to one of .*val/mel"
    ):
        fit(tmp_path, saver)


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize(("hook", "batch"), [
    ("on_train_batch_start", 3),  # right after a checkpoint, whose batch is not in the logs yet
    ("on_train_batch_start", 5),
    ("on_validation_start", 4),  # the validation is owed
    ("on_validation_end", 8),  # the last one too, though no batch is left
])  # fmt: skip
def test_a_broken_run_logs_and_ends_like_a_whole_one(tmp_path, hook, batch, accumulate):
    whole, pieces = Notes(), Notes()
    fit(tmp_path / "whole", notes=whole, accumulate=accumulate)
    folder = tmp_path / "broken"
    with pytest.raises(RuntimeError, match="the end"):
        fit(folder, At(hook, batch, fail), notes=pieces, accumulate=accumulate)
    saved = batch_of(folder / "last.ckpt")  # as with SIGKILL, Lightning's log of this batch never came
    pieces.values = {(n, s): v for (n, s), v in pieces.values.items() if s < saved - 1 or (s == saved and "book" in n)}
    fit(folder, notes=pieces, resume=folder / "last.ckpt", accumulate=accumulate)
    assert len(whole.values) > 50
    assert {name for name, _ in whole.values} >= {"val/mel", "codebook/train/usage_0"}
    assert pieces.values.keys() == whole.values.keys()
    for key, value in whole.values.items():
        assert value == pieces.values[key] or value != value, key
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (tmp_path / "whole", folder))
    for part in ("global_step", "state_dict", "codec_ema", "optimizer_states", "gradient_norms"):
        torch.testing.assert_close(one[part], other[part], rtol=0, atol=0, equal_nan=True)


def test_a_fresh_start_moves_an_earlier_run_aside_and_a_resumed_one_does_not(tmp_path):
    folder = tmp_path / "checkpoints"
    fit(folder, max_steps=2)
    (folder / "batch=9.ckpt.partial").write_bytes(b"half")
    fit(folder, max_steps=3, resume=folder / "last.ckpt")
    assert names(folder) == ["batch=2.ckpt", "batch=3.ckpt", "last.ckpt"]
    fit(folder, max_steps=1)
    assert names(folder) == ["batch=1.ckpt", "last.ckpt"]
    assert names(tmp_path / "checkpoints-1") == ["batch=2.ckpt", "batch=3.ckpt", "last.ckpt"]
    fit(folder, max_steps=1)
    assert names(tmp_path / "checkpoints-2") == ["batch=1.ckpt", "last.ckpt"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1])
def test_a_signal_stops_after_the_batch_and_a_saved_state(tmp_path, number, capfd):
    before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)]
    with pytest.raises(SystemExit) as stop:
        fit(tmp_path / "run", At("on_train_batch_start", 1, send(number)))
    assert stop.value.code == STOPPED == 75
    assert names(tmp_path / "run") == ["batch=2.ckpt", "last.ckpt"]
    assert batch_of(tmp_path / "run" / "last.ckpt") == 2
    assert f"{number.name}: the run stops after this batch" in capfd.readouterr().err
    assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)] == before


def test_a_signal_in_validation_stops_at_once_and_the_validation_is_owed(tmp_path):
    folder, notes = tmp_path / "run", Notes()
    for resume in (None, folder / "last.ckpt"):  # the second time while it makes up for that validation
        with pytest.raises(SystemExit) as stop:
            fit(folder, At("on_validation_batch_start", 4, send(signal.SIGTERM)), notes=notes, resume=resume)
        assert stop.value.code == STOPPED
        assert batch_of(folder / "last.ckpt") == 4
    assert not any(name == "val/mel" for name, _ in notes.values)
    fit(folder, notes=notes, resume=folder / "last.ckpt")
    assert {step for name, step in notes.values if name == "val/mel"} == {3, 7}


def test_a_second_interrupt_does_not_wait(tmp_path):
    def twice(trainer):
        send(signal.SIGINT)(trainer)
        send(signal.SIGINT)(trainer)

    with pytest.raises(SystemExit) as stop:
        fit(tmp_path / "run", At("on_train_batch_start", 1, twice))
    assert stop.value.code == 1  # Lightning's, after KeyboardInterrupt
    assert not (tmp_path / "run").exists()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Lightning leaves it ignored


@pytest.mark.parametrize(("number", "answer", "asked"), [
    (signal.SIGUSR1, 0, True), (signal.SIGUSR1, 1, True), (signal.SIGTERM, 0, False),
])  # fmt: skip
def test_slurm_gets_the_job_back_on_its_signal(tmp_path, monkeypatch, number, answer, asked):
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "scontrol").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\necho refused >&2\nexit {answer}\n')
    (tools / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    for name, value in {"NTASKS": 1, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_ID": 77}.items():
        monkeypatch.setenv(f"SLURM_{name}", str(value))
    for name, value in {"JOB": 70, "TASK": 3}.items():
        monkeypatch.setenv(f"SLURM_ARRAY_{name}_ID", str(value))
    run = [tmp_path / "run", At("on_train_batch_start", 1, send(number))]
    plugins = {"plugins": [SafeCheckpointIO(), SLURMEnvironment()]}
    with pytest.raises(SystemExit) as stop:
        if answer:
            with pytest.warns(UserWarning, match="`scontrol requeue 70_3` failed, submit the job again: refused"):
                fit(*run, **plugins)
        else:
            fit(*run, **plugins)
    assert stop.value.code == STOPPED
    assert batch_of(tmp_path / "run" / "last.ckpt") == 2
    assert (tmp_path / "asked").exists() == asked
    if asked:
        assert (tmp_path / "asked").read_text() == "requeue 70_3\n"


def test_scoring_processes_leave_these_signals_to_their_parent():
    pool = ScoringPool([SISDR()], num_workers=1)
    signals = np.random.default_rng(0).normal(size=(2, 16_000)).astype("float32")
    pool.submit(0, *signals, sample_rate=16_000)
    first = pool.results()[0]
    worker = pool._idle.get()
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker.process.pid, number)
    pool._idle.put(worker)
    pool.submit(1, *signals, sample_rate=16_000)
    assert pool.results()[1] == first
    assert worker.process.poll() is None
    pool.close()
    assert worker.process.poll() == 0


def test_ranks_that_chose_different_files_stop_before_training(tmp_path, monkeypatch):
    monkeypatch.setattr("callbacks.training.run_checkpoint.gather_objects", lambda item: [item, "batch=3.ckpt"])
    with pytest.raises(
        ValueError, match=r"different checkpoints \(rank 0: none, a fresh start; rank 1: batch=3\.ckpt\)"
    ):
        fit(tmp_path / "run")


class FullDisk(Callback):
    """No file may grow beyond some bytes, from one batch to another: writes fail halfway, as on a full disk."""

    def __init__(self, first, end):
        self.first, self.end = first, end

    def on_train_batch_start(self, trainer, *_):
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        full = self.first <= trainer.global_step < self.end
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if full else limits[1], limits[1]))


@pytest.fixture
def unlimited():
    yield
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limits[1], limits[1]))


@pytest.mark.usefixtures("unlimited")
def test_a_full_disk_costs_a_checkpoint_and_nothing_else(tmp_path):
    folder, notes = tmp_path / "run", Notes()
    seen = {}

    def look(trainer):
        seen["files"], seen["last"] = names(folder), batch_of(folder / "last.ckpt")

    with pytest.warns(UserWarning, match="could NOT") as warned:
        fit(folder, FullDisk(3, 6), At("on_train_batch_start", 6, look), notes=notes)
    sentences = [str(w.message) for w in warned if "could NOT" in str(w.message)]
    assert len(sentences) == 2
    assert re.search(r"batch=6\.ckpt could NOT be written \(.*File too large.*\), 2 in all", sentences[1])
    assert seen == {"files": ["batch=3.ckpt", "last.ckpt"], "last": 3}
    assert names(folder) == ["batch=3.ckpt", "batch=8.ckpt", "last.ckpt"]
    assert batch_of(folder / "last.ckpt") == 8
    assert [value for (name, _), value in notes.values.items() if name == "checkpoint/failed"] == [1, 2, 2]


@pytest.mark.usefixtures("unlimited")
@pytest.mark.parametrize("stop", [None, signal.SIGTERM])
def test_a_disk_still_full_at_the_end_is_an_error(tmp_path, stop):
    folder = tmp_path / "run"
    more = [At("on_train_batch_start", 4, send(stop))] if stop else []
    sentence = r"The last checkpoint .* could not be written \(.*File too large.*\): make room and run again"
    with pytest.warns(UserWarning, match="could NOT be written"), pytest.raises(ValueError, match=sentence):
        fit(folder, FullDisk(4, 99), *more)
    assert batch_of(folder / "last.ckpt") == 4


def test_other_ways_to_end_are_saved_too(tmp_path):
    stop = At("on_train_batch_end", 1, lambda trainer: setattr(trainer, "should_stop", True))
    fit(tmp_path / "run", stop, limit_val_batches=0)
    assert names(tmp_path / "run") == ["batch=1.ckpt", "last.ckpt"]


def test_a_dry_run_writes_nothing(tmp_path):
    fit(tmp_path / "run", fast_dev_run=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("wrong", [{"every_n_batches": 0}, {"recent": 1}, {"best": 0}, {"mode": "low"}])
def test_wrong_numbers_are_refused(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(InvalidValue) as caught:
        RunCheckpoint(**wrong)
    assert caught.value.what == name and str(value) in str(caught.value.value)  # that one alone


def test_the_folder_of_the_run_is_the_default(tmp_path):
    saver = RunCheckpoint()
    fit(tmp_path / "unused", saver, max_steps=1)
    assert saver.folder == Path(tmp_path / "checkpoints")
    assert names(saver.folder) == ["batch=1.ckpt", "last.ckpt"]


def test_a_checkpoint_is_copied_from_the_device_in_a_few_pieces(tmp_path, monkeypatch):
    """One copy of each type of number, where each tensor by itself would wait for the device."""
    from callbacks.training import run_checkpoint
    from codec.training import transfers

    copies, cpu, fetch_state = [], torch.Tensor.cpu, transfers.fetch_state

    def fetch(state):
        with monkeypatch.context() as patched:
            patched.setattr(transfers, "_on_device", lambda value: isinstance(value, torch.Tensor))
            patched.setattr(torch.Tensor, "cpu", lambda self: copies.append(self.dtype) or cpu(self))
            return fetch_state(state)

    monkeypatch.setattr(run_checkpoint, "fetch_state", fetch)
    module, saver = tiny_module(), RunCheckpoint(dirpath=str(tmp_path))
    quiet_trainer(max_steps=2, callbacks=[saver], enable_checkpointing=True).fit(module, VoiceData())
    assert 1 <= len(copies) == len(set(copies)) <= 4
    saved = torch.load(tmp_path / "last.ckpt", weights_only=False)
    assert all(torch.equal(saved["state_dict"][name], value) for name, value in module.state_dict().items())
