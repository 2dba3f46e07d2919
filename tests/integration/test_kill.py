"""Kill and resume: the short form of the kill harness; how the command line finds the checkpoint to go on from."""

import json
import signal
import struct
import sys
import time
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
import yaml

import train
from callbacks import RunCheckpoint
from codec.cli.progress_bar import BatchProgressBar
from tests.integration.kill_harness import ROOT, Run, compare, configuration, differences, logged, make_speech
from tests.support.training import VoiceData, quiet_trainer, tiny_module

QUIET = ["--trainer.enable_progress_bar", "false", "--data.num_workers", "0", "--channels.num_workers", "0"]


@pytest.fixture
def settings(tmp_path):
    """A file over quickstart.yaml; the run is in `tmp_path / "run"`."""
    speech = make_speech(tmp_path / "speech")
    content = configuration(speech, tmp_path, batches=4, quantizer="fsq", accumulate=1)
    content["trainer"]["val_check_interval"] = 2
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(content))
    return tmp_path / "settings.yaml"


def damage(path: Path) -> None:
    """Change one bit in the middle of the largest record."""
    with ZipFile(path) as archive:
        record = max(archive.infolist(), key=lambda entry: entry.file_size)
    content = bytearray(path.read_bytes())
    lengths = struct.unpack_from("<HH", content, record.header_offset + 26)  # of the name and the padding after it
    content[record.header_offset + 30 + sum(lengths) + record.file_size // 2] ^= 1
    path.write_bytes(content)


def run(monkeypatch, command, settings, *words):
    options = ["--config", ROOT / "configs" / "quickstart.yaml", "--config", settings, *QUIET, *words]
    monkeypatch.setattr(sys, "argv", ["train.py", command, *map(str, options)])
    train.main()


@pytest.mark.slow
def test_a_killed_run_ends_like_a_whole_one(tmp_path):
    """Two kills with SIGKILL, in a write and in a validation: weights, optimizers, averages and logs to the bit."""
    aims = ["checkpoint write", "validation"]
    assert compare(tmp_path, aims, batches=12, quantizer="fsq", accumulate=1, seed=0) == []
    assert len(logged(tmp_path / "whole" / "run")) > 150


@pytest.mark.slow
def test_a_signal_to_one_rank_stops_both_after_the_same_batch(tmp_path):
    run = Run(tmp_path / "two", make_speech(tmp_path / "speech"), batches=500, quantizer="fsq", accumulate=1)
    process = run.start("--trainer.devices", "2")  # which choose ddp_alternating by themselves
    while not list(run.checkpoints.glob("batch=*.ckpt")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(600) == 75, run.shown(3000)
    stopped = torch.load(run.checkpoints / "last.ckpt", weights_only=True)["global_step"]
    assert 2 < stopped < 500
    assert f"Stopped after batch {stopped}" in run.shown(10**6)


def test_the_comparison_sees_one_bit():
    one = {"a": [torch.zeros(3), float("nan")], "b": {"c": torch.ones(2)}}
    assert differences(one, {"a": [torch.zeros(3), float("nan")], "b": {"c": torch.ones(2)}}) == []
    assert differences(one, {"a": [-torch.zeros(3), float("nan")], "b": {"c": torch.ones(2)}}) == ["/a/0"]
    assert sorted(differences(one, {"a": [torch.zeros(3), 0.0], "b": {}}))[::-1] == ["/b/c in one only", "/a/1"]


@pytest.mark.slow
def test_auto_starts_afresh_goes_on_and_passes_over_a_damaged_file(monkeypatch, tmp_path, settings, caplog):
    checkpoints = tmp_path / "run" / "checkpoints"
    run(monkeypatch, "fit", settings, "--ckpt_path", "auto", "--trainer.max_steps", "2")
    assert f"No checkpoint in {checkpoints}: a fresh start." in caplog.text
    run(monkeypatch, "fit", settings, "--ckpt_path", "auto", "--trainer.max_steps", "3")
    assert f"Going on from {checkpoints / 'last.ckpt'}." in caplog.text
    assert not (tmp_path / "run" / "checkpoints-1").exists()
    last = checkpoints / "last.ckpt"
    damage(last)  # and with it batch=3.ckpt, which is the same file
    for command, wanted in (("fit", "last"), ("fit", "auto"), ("validate", "last")):
        with pytest.warns(UserWarning, match=r"(last|batch=3)\.ckpt is damaged \(.*\): passed over for batch=2\.ckpt"):
            run(monkeypatch, command, settings, "--ckpt_path", wanted, "--trainer.max_steps", "2")
    assert json.loads((tmp_path / "run" / "channel.json").read_text())["step"] == 2
    run(monkeypatch, "fit", settings, "--ckpt_path", checkpoints / "batch=2.ckpt")
    assert torch.load(last, weights_only=True)["global_step"] == 4


def test_last_of_nothing_is_refused_and_auto_recommended(monkeypatch, tmp_path, settings, capsys):
    with pytest.raises(SystemExit) as stop:
        run(monkeypatch, "fit", settings, "--ckpt_path", "last")
    assert stop.value.code == 2
    assert "There is no last checkpoint in" in (error := capsys.readouterr().err)
    assert error.rstrip().endswith("start with --ckpt_path auto, or give its path as ckpt_path.")


def test_the_bar_of_a_resumed_run_counts_to_the_end(tmp_path):
    bars = []

    class Bar(BatchProgressBar):
        def on_train_batch_start(self, trainer, *_):
            bars.append((self.train_progress_bar.n, self.train_progress_bar.total))

    for steps, resume in ((2, None), (4, tmp_path / "last.ckpt")):
        callbacks = [Bar(), RunCheckpoint(dirpath=str(tmp_path))]
        trainer = quiet_trainer(
            max_steps=steps, callbacks=callbacks, enable_progress_bar=True, enable_checkpointing=True
        )
        trainer.fit(tiny_module(), VoiceData(), ckpt_path=resume)
    assert bars == [(0, 2), (1, 2), (2, 4), (3, 4)]
