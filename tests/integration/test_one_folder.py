"""Runs that share a folder by command: at once, one of them is refused; one after the other, the second goes on."""

import csv
import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from codec.training.runs.locks import hold, release_all
from tests.support.forked import Outcome, command_lines
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

LOGGERS = {
    "CSV": "{class_path: CSVLogger, init_args: {save_dir: runs, name: a}}",
    "TensorBoard": "{class_path: TensorBoardLogger, init_args: {save_dir: runs, name: a}}",
    "W&B": "{class_path: WandbLogger, init_args: {save_dir: runs, project: a, offline: true}}",
    "none": "false",
}
SECONDS = 20  # twice what a second run waits for the end of the first


@pytest.fixture(scope="module")
def configuration(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Words that shrink the debug configuration to a tiny codec."""
    tiny = tmp_path_factory.mktemp("configuration") / "tiny.yaml"
    tiny.write_text((ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(recordings)))
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", tiny)
    return [word for file in files for word in ("--config", str(file))]


def test_of_two_fits_into_one_folder_one_is_refused(configuration: list[str], tmp_path: Path) -> None:
    fit = ["fit", *configuration, "--trainer.logger.init_args.name", "a"]
    fit += ["--trainer.max_steps", "-1", "--trainer.max_time", f"00:00:00:{SECONDS}"]
    outcomes = command_lines([fit, fit], tmp_path, shared=True)
    assert sorted(outcome.status for outcome in outcomes) == [0, 2], outcomes
    refused, kept = sorted(outcomes, key=lambda outcome: -outcome.status)
    assert re.search(r"error: The .*folder runs/a.* is in use by another run \(process \d+ on ", refused.output)
    assert "Traceback" not in refused.output and "Training:" not in refused.output
    assert "The run is in runs/a" in kept.output
    (checkpoint,) = tmp_path.rglob("last.ckpt")
    assert torch.load(checkpoint, weights_only=False)["global_step"] > 0


def test_two_ranks_are_refused_like_one(configuration: list[str], tmp_path: Path) -> None:
    words = ["fit", *configuration, "--trainer.logger.init_args.name", "a", "--trainer.devices", "2"]
    try:
        hold(tmp_path / "runs/a/checkpoints.lock", what="it")
        (outcome,) = command_lines([words], tmp_path, shared=True)
    finally:
        release_all()
    assert outcome.status == 2, outcome.output[-3000:]
    assert outcome.output.count("is in use by another run") == 1
    assert not list(tmp_path.rglob("*.ckpt"))


def rounds(configuration: list[str], folder: Path) -> dict[str, tuple[list[Outcome], Path]]:
    """With each logger a `fit` of 4 batches, one that goes on to 8, and a `test`; and their working folder."""
    loggers = {name: text for name, text in LOGGERS.items() if name != "W&B" or find_spec("wandb")}
    asked = [["fit", "--ckpt_path", "auto", "--trainer.max_steps", steps] for steps in ("4", "8")]
    asked.append(["test", "--ckpt_path", "last"])
    found: dict[str, tuple[list[Outcome], Path]] = {}
    for command, *words in asked:
        lines = [[command, *configuration, *words, "--trainer.logger", text] for text in loggers.values()]
        for number, (name, outcome) in enumerate(zip(loggers, command_lines(lines, folder), strict=True)):
            found.setdefault(name, ([], folder / str(number)))[0].append(outcome)
    return found


def test_a_run_goes_on_whatever_its_logger(configuration: list[str], tmp_path: Path) -> None:
    for logger, (outcomes, place) in rounds(configuration, tmp_path).items():
        for outcome in outcomes:
            assert outcome.status == 0 and "Traceback" not in outcome.output, outcome.output[-3000:]
        (checkpoint,) = place.rglob("last.ckpt")
        assert torch.load(checkpoint, weights_only=False)["global_step"] == 8
        folder, named = checkpoint.parents[1], str(checkpoint.relative_to(place))
        assert [outcome.output.count(named) for outcome in outcomes] == [0, 1, 1], logger  # said once
        for outcome, words in zip(outcomes[1:], ("Going on from", "Weights from"), strict=True):
            assert f"{words} {named}." in outcome.output
        assert json.loads((folder / "channel.json").read_text())
        assert [path.name for path in place.rglob("version_*")] in ([], [folder.name])
        if logger == "CSV":
            rows = csv.DictReader((folder / "metrics.csv").read_text().splitlines())
            assert [int(row["step"]) for row in rows if row.get("train/generator")] == list(range(8))
