"""Preflight says before the first batch, and all at once, what would end a run later."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger

import callbacks.training.preflight
import callbacks.training.preflight_checks as checks
from callbacks import CodebookUsage, CodecEMA, Preflight, RunCheckpoint, Throughput
from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.metrics import PESQ, SISDR, SpeechMetric
from callbacks.training.preflight_monitors import declared_names
from callbacks.training.preflight_space import checkpoint_bytes, kept_checkpoints
from codec import Adversary, CodecModule, MultiPeriodDiscriminator, MultiScaleMelLoss
from data import FolderSource, SpeechDataModule
from tests.support.codec_fakes import tiny_codec
from tests.support.paths import ROOT
from tests.support.speech import speech_like


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    folder = tmp_path / "speech"
    folder.mkdir()
    for number in range(12):
        soundfile.write(folder / f"{number}.wav", speech_like(number, 0.7), 16_000)
    return folder


class Short(SpeechMetric):
    """A metric that never has a value."""

    name = label = "short"

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        raise ImportError("No module named 'nisqa'")


class Picky(MultiPeriodDiscriminator):
    """A discriminator that has no use for short stretches."""

    def forward(self, audio: torch.Tensor) -> list[Any]:
        if audio.shape[-1] < 64:
            raise RuntimeError("at least 64 samples\nand a trace")
        return super().forward(audio)


def module(**options: Any) -> CodecModule:
    torch.manual_seed(0)
    adversary = Adversary([Picky((2, 3), (4, 8))], **{"start": 5, **options})
    loss = MultiScaleMelLoss(16_000, (128, 512), mels=(10, 40))
    return CodecModule(tiny_codec(), adversary, reconstruction_loss=loss)


def data(speech: Path, **options: Any) -> SpeechDataModule:
    sources = {"train": FolderSource(str(speech)), "val": FolderSource(str(speech))}
    return SpeechDataModule(
        **{**sources, "crop_seconds": 0.4, "batch_size": 2, "num_workers": 0, "val_clips": 2, **options}
    )


def trainer(root: Path, *others: Any, preflight: Preflight | None = None, **options: Any) -> Trainer:
    defaults: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": TensorBoardLogger(str(root), name="run", version=""),
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "max_steps": 1,
        "val_check_interval": 1,
        "check_val_every_n_epoch": None,
        "log_every_n_steps": 1,
        "use_distributed_sampler": False,
    }
    return Trainer(callbacks=[*others, preflight or Preflight()], **{**defaults, **options})


def problems(error: pytest.ExceptionInfo[ValueError]) -> list[str]:
    head, *lines = str(error.value).split("\n- ")
    assert re.match(r"Preflight found (a problem|\d+ problems) \(--preflight.enabled false", head)
    return lines


def evaluation(*metrics: SpeechMetric) -> ChannelEvaluation:
    return ChannelEvaluation(bit_error_rates=(0.0, 0.1), metrics=[*metrics, SISDR()], num_workers=0, fit_clips=1)


def test_a_run_without_problems_trains(tmp_path: Path, speech: Path, caplog: pytest.LogCaptureFixture) -> None:
    monitored = ModelCheckpoint(monitor="channel/si_sdr/ber_0.1", mode="max")
    runner = trainer(tmp_path, evaluation(PESQ("wb"), PESQ("nb")), monitored, ModelCheckpoint(monitor="val/mel"))
    runner.fit(module(start=0), datamodule=data(speech, test=FolderSource(str(speech))))
    assert runner.global_step == 1
    assert not [record for record in caplog.records if record.name.startswith("callbacks.training.preflight")]


def test_a_run_too_short_for_scores_and_discriminators_is_told_so(
    tmp_path: Path, speech: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(tmp_path, evaluation(), val_check_interval=2).fit(module(start=1), datamodule=data(speech))
    told = [r.getMessage() for r in caplog.records if r.name == "callbacks.training.preflight"]
    assert len(told) == 2 and "before its first validation" in told[0] and "join at batch 1" in told[1]


def test_all_problems_come_in_one_list(tmp_path: Path, speech: Path) -> None:
    owner = ModelCheckpoint(monitor="channel/si_sdr/ber_0.2")
    other = ModelCheckpoint(dirpath=str(tmp_path / "file" / "checkpoints"))
    (tmp_path / "file").touch()
    runner = trainer(tmp_path, evaluation(Short()), owner, other)
    with pytest.raises(ValueError) as error:
        runner.fit(module(crop=2), datamodule=data(speech, val=None))
    found = problems(error)
    assert runner.global_step == 0
    assert found[0].startswith(f"{tmp_path}/file/checkpoints cannot be written (")
    assert found[1].startswith("There are no validation clips: set data.val")
    assert found[2] == (
        "Picky joins at batch 5 and fails on 2 samples (at least 64 samples): make data.crop_seconds or "
        "adversary.crop longer."
    )
    assert found[3] == (
        "short cannot be computed at 16000 Hz (ImportError: No module named 'nisqa'): install what it needs, or leave "
        "it out of channels.metrics."
    )
    assert found[4] == (
        "ModelCheckpoint monitors channel/si_sdr/ber_0.2, which no validation will log: the nearest that is logged is "
        "channel/si_sdr/ber_0.1."
    )
    assert len(found) == 5


def test_what_the_data_module_refuses_joins_the_list(tmp_path: Path, speech: Path) -> None:
    with pytest.raises(ValueError) as error:
        trainer(tmp_path, evaluation(Short())).fit(module(), datamodule=data(speech, train=FolderSource("/nowhere")))
    found = problems(error)
    assert found[0].startswith("the folder /nowhere does not exist")
    assert found[1].startswith("short cannot be computed") and len(found) == 2


def test_a_lone_refusal_of_the_data_module_stays_as_it_is(tmp_path: Path, speech: Path) -> None:
    with pytest.raises(ValueError, match=r"^the folder /nowhere does not exist"):
        trainer(tmp_path).fit(module(), datamodule=data(speech, train=FolderSource("/nowhere")))


def test_a_folder_that_the_logger_cannot_write_is_said_in_the_list(tmp_path: Path, speech: Path) -> None:
    (tmp_path / "run").touch()
    with pytest.raises(ValueError) as error:
        trainer(tmp_path).fit(module(), datamodule=data(speech))
    assert problems(error)[0].startswith(f"{tmp_path}/run/checkpoints cannot be written (")


def test_a_full_disk_is_seen(tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    with pytest.raises(ValueError) as error:
        trainer(tmp_path).fit(module(), datamodule=data(speech))
    (found,) = problems(error)
    assert re.search(r"has 0\.0 MB free, but 2 checkpoints of about \d\.\d MB are kept at once and need", found)


def test_the_estimate_of_a_checkpoint_is_close(tmp_path: Path, speech: Path) -> None:
    saver = ModelCheckpoint(save_last=True)
    runner = trainer(tmp_path, CodecEMA(decay=0.9), saver, max_steps=1)
    trained = module(start=0)
    runner.fit(trained, datamodule=data(speech))
    files = list((tmp_path / "run/checkpoints").glob("*.ckpt"))
    assert kept_checkpoints(runner, saver) == len(files) + 1
    assert 0.7 < checkpoint_bytes(runner, trained) / files[0].stat().st_size < 1.1


def test_kept_checkpoints_are_counted() -> None:
    runner = SimpleNamespace(max_steps=1000)
    assert kept_checkpoints(runner, ModelCheckpoint(save_top_k=-1, every_n_train_steps=100)) == 11
    assert kept_checkpoints(runner, RunCheckpoint(recent=4)) == 5
    assert kept_checkpoints(runner, RunCheckpoint(recent=2, monitor="val/mel", best=3)) == 6


def test_checkpoints_that_are_there_need_no_new_room(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "old.ckpt").write_bytes(bytes(3_000_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=10_000))
    runner = SimpleNamespace(checkpoint_callbacks=[ModelCheckpoint(str(folder))], callbacks=[], max_steps=1, loggers=[])
    assert not list(checks.checkpoint_space(runner, module()))
    (folder / "old.ckpt").write_bytes(b"")
    assert list(checks.checkpoint_space(runner, module()))


def test_clips_shorter_than_a_crop_are_a_problem(tmp_path: Path, speech: Path) -> None:
    with pytest.raises(ValueError) as error:
        trainer(tmp_path).fit(module(), datamodule=data(speech, crop_seconds=1.0))
    (found,) = problems(error)
    assert re.match(r"16 training crops met \d+ files? unusable or too short, such as .+: shorter than", found)


def test_a_monitor_that_validation_does_not_log_ends_the_run_before_its_first_batch(
    tmp_path: Path, speech: Path
) -> None:
    runner = trainer(tmp_path, ModelCheckpoint(monitor="val/mell"))
    with pytest.raises(ValueError) as error:
        runner.fit(module(), datamodule=data(speech))
    assert runner.global_step == 0
    assert problems(error) == [
        "ModelCheckpoint monitors val/mell, which no validation will log: the nearest that is logged is val/mel."
    ]


def test_a_monitor_without_validation_is_a_problem(tmp_path: Path, speech: Path) -> None:
    runner = trainer(tmp_path, ModelCheckpoint(monitor="val/mel"), max_steps=5, val_check_interval=10)
    with pytest.raises(ValueError) as error:
        runner.fit(module(), datamodule=data(speech))
    assert (
        "there is no validation in 5 batches: set trainer.val_check_interval 10 to that or less" in problems(error)[0]
    )


def test_minor_problems_are_warnings(
    tmp_path: Path, speech: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    runner = SimpleNamespace(
        num_devices=2, datamodule=SimpleNamespace(num_workers=3, sources={"test": [FolderSource("/nowhere")]})
    )
    texts = [finding for check in (checks.workers, checks.test_clips) for finding in check(runner, None)]
    assert [finding.fatal for finding in texts] == [False, False]
    assert texts[0].text.startswith(
        "data.num_workers 3 makes 8 processes on 2 cores, ranks included: data.num_workers 1 may be faster."
    )
    assert texts[1].text.startswith("Later, `test` will find no usable data.test: the folder /nowhere does not exist")


@pytest.mark.parametrize(
    ("given", "device", "abilities", "warned"),
    [
        ("bf16-mixed", "cpu", {"avx2": True, "avx512_bf16": False}, True),
        ("bf16-true", "cpu", {"neon": True}, True),
        ("bf16-mixed", "cpu", {"avx2": True, "avx512_bf16": True}, False),
        ("bf16-mixed", "cpu", {"neon": True, "bf16": True}, False),
        ("32-true", "cpu", {"avx2": True}, False),
        ("bf16-mixed", "cuda", {"avx2": True}, False),
    ],
)
def test_bfloat16_is_advised_against_where_the_cpu_emulates_it(
    given: str, device: str, abilities: dict[str, bool], warned: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: abilities)
    runner = SimpleNamespace(precision=given, strategy=SimpleNamespace(root_device=torch.device(device)))
    findings = list(checks.precision(runner, None))
    assert len(findings) == warned
    for finding in findings:
        assert not finding.fatal
        assert finding.text.startswith(f"trainer.precision {given} is emulated")


def test_a_check_that_fails_itself_stops_nobody(
    tmp_path: Path, speech: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def disks(trainer: Any, module: Any) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(callbacks.training.preflight, "CHECKS", (disks,))
    runner = trainer(tmp_path)
    runner.fit(module(), datamodule=data(speech))
    assert runner.global_step == 1
    assert "Preflight could not check the disks (RuntimeError('no such thing'))." in caplog.text


@pytest.mark.filterwarnings("ignore:Total length of `list`")
@pytest.mark.parametrize("off", [{"preflight": Preflight(enabled=False)}, {"fast_dev_run": 1}])
def test_it_can_be_switched_off(tmp_path: Path, speech: Path, off: dict[str, Any]) -> None:
    runner = trainer(tmp_path, **off)
    runner.fit(module(), datamodule=data(speech, val=None))
    assert runner.global_step == 1


@pytest.mark.slow
def test_two_ranks_stop_together(tmp_path: Path, speech: Path) -> None:
    """Rank 0 alone finds the problem; both ranks name it and end, with nobody left waiting."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", __file__]
    environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path), str(speech)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr
    for rank in range(2):
        assert "short cannot be computed" in (tmp_path / f"rank{rank}.txt").read_text()


def on_ranks(root: Path, speech: Path) -> None:
    """Fit on two ranks; only rank 0's preflight has a bad metric. Writes what each rank raises."""
    from tests.support.leaving import leave_together

    rank = int(os.environ["RANK"])
    metrics = [Short()] if rank == 0 else []
    runner = trainer(root, evaluation(*metrics), devices=2, strategy="ddp_alternating")
    fitted: LightningModule = module()
    try:
        runner.fit(fitted, datamodule=data(speech))
    except ValueError as error:
        (root / f"rank{rank}.txt").write_text(str(error))
    leave_together()


if __name__ == "__main__":
    on_ranks(Path(sys.argv[1]), Path(sys.argv[2]))


@pytest.mark.parametrize(
    ("monitor", "nearest"),
    [("val_mel", "val/mel"), ("train/generatr", "train/generator"), ("throughput/data", "throughput/data_wait"),
     ("codebook/val/usage_9", "codebook/val/usage_0"), ("learning_rate/generater", "learning_rate/generator")],
)  # fmt: skip
@pytest.mark.parametrize("owner", [ModelCheckpoint, EarlyStopping, RunCheckpoint])
def test_a_misspelt_name_is_found_without_a_sanity_check(
    tmp_path: Path, speech: Path, monitor: str, nearest: str, owner: Any
) -> None:
    runner = trainer(tmp_path, owner(monitor=monitor), Throughput(), CodebookUsage(), num_sanity_val_steps=0)
    with pytest.raises(ValueError) as error:
        runner.fit(module(), datamodule=data(speech))
    assert runner.global_step == 0
    assert f"{owner.__name__} monitors {monitor}, which " in problems(error)[0]
    assert problems(error)[0].endswith(f"the nearest that is logged is {nearest}.")


def test_all_that_training_and_validation_log_can_be_monitored(tmp_path: Path, speech: Path) -> None:
    """The declared names are those that are logged."""
    others = [Throughput(1), CodebookUsage(1), evaluation()]
    runner = trainer(tmp_path, *others, max_steps=2, val_check_interval=2)
    trained = module(start=0)
    runner.fit(trained, datamodule=data(speech))
    known, complete = declared_names(runner, trained)
    assert complete and set(known) == set(runner.callback_metrics)


def test_callbacks_of_a_users_own_may_log_what_is_monitored(tmp_path: Path, speech: Path) -> None:
    class Own(Callback):
        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            if not trainer.sanity_checking:
                pl_module.log("val/own", 1.0)

    runner = trainer(tmp_path, Own(), EarlyStopping("val/own"))
    runner.fit(module(), datamodule=data(speech))
    assert runner.global_step == 1
