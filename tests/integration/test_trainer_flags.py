"""Every option of the Trainer on the debug configuration: it works, or one sentence refuses it before the first batch.

The table is checked against the parser: a new option fails until it has a case.
"""

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import matplotlib.pyplot
import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from lightning import Trainer

from callbacks import STOI
from tests.support.forked import HANGS, Outcome, command_lines
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

WORKS = ""
LOADED = (matplotlib.pyplot, STOI)  # what each child would import for itself


class Case(NamedTuple):
    """An option's value as typed, and a word of the sentence that refuses it; `WORKS` where it works."""

    typed: str
    refused: str = WORKS
    command: str = "fit"


def callback(name: str, refused: str = WORKS, **init_args: object) -> Case:
    return Case(
        shlex.quote(yaml.safe_dump({"class_path": name, "init_args": init_args}, default_flow_style=True)), refused
    )


TABLE: dict[str, list[Case]] = {
    "accelerator": [Case("auto"), Case("tpu", "not available"), Case("nonsense", "not available")],
    "accumulate_grad_batches": [Case("2", "optimization.accumulate"), Case("1")],
    "barebones": [Case("true", "must be unset")],
    "benchmark": [Case("true")],
    "callbacks": [
        callback("EarlyStopping", monitor="val/mel"),
        callback("EarlyStopping", "val/mel", monitor="val/mell"),
        callback("ModelCheckpoint", "train/generator", monitor="train/generatr"),
        callback("ModelCheckpoint", "every_n_train_steps", every_n_epochs=2),
        callback("Timer", duration="00:00:10:00"),
        callback("StochasticWeightAveraging", "CodecEMA", swa_lrs=0.01),
        callback("EMAWeightAveraging", "CodecEMA"),
        callback("GradientAccumulationScheduler", "optimization.accumulate", scheduling={0: 2}),
        callback("LearningRateFinder", "sweep"),
        callback("BatchSizeFinder", "data.batch_size"),
        callback("BackboneFinetuning", "frozen_parts"),
        callback("SpikeDetection", "skipped_steps"),
        callback("LearningRateMonitor"),
        callback("RichProgressBar"),
        Case("nonsense", "not accepted"),
    ],
    "check_val_every_n_epoch": [Case("1"), Case("2", "val_check_interval"), Case("0", "at least 1")],
    "default_root_dir": [Case("out"), Case("/proc/none")],
    "detect_anomaly": [Case("true")],
    "deterministic": [Case("warn"), Case("nonsense", "not accepted")],
    "devices": [Case("auto"), Case("0", "number of devices"), Case("1.5", "number of devices")],
    "enable_autolog_hparams": [Case("false")],
    "enable_checkpointing": [Case("false", "must be unset"), Case("true")],
    "enable_model_summary": [Case("false")],
    "enable_progress_bar": [Case("false")],
    "fast_dev_run": [Case("true"), Case("2"), Case("-1", "at least 0")],
    "gradient_clip_algorithm": [Case("value", "must be unset")],
    "gradient_clip_val": [Case("1", "optimization.gradient_clip")],
    "inference_mode": [Case("false", command="test")],
    "limit_predict_batches": [Case("1", command="predict"), Case("0.1", "limit_predict_batches", "predict")],
    "limit_test_batches": [Case("1", command="test"), Case("0.1", "limit_test_batches", "test")],
    "limit_train_batches": [Case("2"), Case("0.5"), Case("0"), Case("1.5", "whole number")],
    "limit_val_batches": [
        Case("1"),
        Case("0.5"),
        Case("0"),
        Case("0.1", "limit_val_batches"),
        Case("-1", "whole number"),
    ],
    "log_every_n_steps": [Case("0"), Case("-1", "at least 0")],
    "logger": [Case("false"), Case("CSVLogger"), Case("nonsense", "nonsense")],
    "max_epochs": [Case("1 --trainer.max_steps -1"), Case("0"), Case("-2", "at least -1")],
    "max_steps": [Case("0"), Case("-2", "at least -1"), Case("many", "many")],
    "max_time": [Case("00:01:00:00"), Case("soon", "DD:HH:MM:SS")],
    "min_epochs": [Case("1"), Case("-1", "at least 0")],
    "min_steps": [Case("3"), Case("-1", "at least 0")],
    "model_registry": [Case("null")],
    "num_nodes": [Case("2", "torchrun"), Case("0", "at least 1")],
    "num_sanity_val_steps": [Case("0"), Case("-1"), Case("-2", "at least -1")],
    "overfit_batches": [Case("1"), Case("0.25"), Case("-1", "whole number")],
    "plugins": [
        Case("LightningEnvironment"),
        Case("lightning.pytorch.plugins.io.AsyncCheckpointIO", "last checkpoint"),
        Case("nonsense", "not accepted"),
    ],
    "precision": [
        Case("bf16-mixed"),
        *(Case(name, "bf16-mixed") for name in ("16-true", "bf16-true", "64-true", "transformer-engine")),
        Case("8", "not accepted"),
    ],
    "profiler": [Case("simple"), Case("nonsense", "simple"), Case("xla", "simple")],
    "reload_dataloaders_every_n_epochs": [Case("1"), Case("-1", "at least 0")],
    "strategy": [
        Case("ddp_alternating"),
        *(Case(name, "ddp_alternating") for name in ("ddp", "fsdp", "deepspeed", "nonsense")),
    ],
    "sync_batchnorm": [Case("true")],
    "use_distributed_sampler": [Case("true")],
    "val_check_interval": [
        Case("0.5"),
        Case("1.0"),
        Case("00:00:00:01"),
        Case("0", "limit_val_batches"),
        Case("1.5", "whole number"),
    ],
}  # fmt: skip
CASES = [(name, case) for name, cases in TABLE.items() for case in cases]


@pytest.fixture(scope="module")
def configuration(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that shrink the debug configuration to four batches of a tiny codec."""
    tiny = (ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(recordings))
    path = tmp_path_factory.mktemp("flags") / "tiny.yaml"
    path.write_text(tiny)
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", path)
    return [word for file in files for word in ("--config", str(file))]


def test_every_option_of_the_trainer_has_a_case() -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(Trainer, "trainer")
    options = {name.removeprefix("trainer.") for name in parser.get_defaults().as_flat().__dict__}
    assert {name.partition(".")[0] for name in options} == set(TABLE)


def test_an_option_works_or_one_sentence_refuses_it(configuration: list[str], tmp_path: Path) -> None:
    """One test of all cases, which run in twos: several would each start their own where processes share the tests."""
    assert LOADED and torch.get_num_threads() == 1
    commands = [[case.command, *configuration, f"--trainer.{name}", *shlex.split(case.typed)] for name, case in CASES]
    wrong = []
    for (name, case), outcome in zip(CASES, command_lines(commands, tmp_path), strict=True):
        try:
            check(case, outcome)
        except AssertionError as error:
            wrong.append(f"--trainer.{name} {case.typed}: {error}")
    assert not wrong, "\n".join(wrong)


def check(case: Case, outcome: Outcome) -> None:
    """That a command ended as its case says."""
    assert outcome.status != HANGS, outcome.output[-2000:]
    assert "Traceback" not in outcome.output, outcome.output[-3000:]
    if not case.refused:
        assert outcome.status == 0, outcome.output[-2000:]
        return
    assert outcome.status == 2, outcome.output[-2000:]
    sentence = outcome.output.partition("error: ")[2]
    assert case.refused in sentence, outcome.output[-2000:]
    assert len(sentence) < 700 and not re.search("Training: batch|Testing: clip", outcome.output)
