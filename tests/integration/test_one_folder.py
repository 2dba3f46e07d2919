"""Runs that share a folder by command: at once, one of them is refused; one after the other, the second goes on."""

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from codec.training.runs.locks import hold, release_all
from tests.support.forked import Outcome, command_lines
from tests.support.paths import ROOT

pytestmark = pytest.mark.slow

CSV = "{class_path: CSVLogger, init_args: {save_dir: runs, name: a}}"
TENSORBOARD = "{class_path: TensorBoardLogger, init_args: {save_dir: runs, name: a}}"
WANDB = "{class_path: WandbLogger, init_args: {save_dir: runs, project: a, offline: true}}"


@pytest.fixture
def run(recordings: Path, tmp_path: Path) -> Callable[..., list[Outcome]]:
    """Runs `train.py` with each list of words on a tiny codec, at once, in one working folder."""
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text((ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(recordings)))
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", tiny)
    words = [word for file in files for word in ("--config", str(file))]

    def start(*commands: list[str]) -> list[Outcome]:
        lines = [[command[0], *words, *command[1:]] for command in commands]
        outcomes = command_lines(lines, tmp_path / "work", at_once=len(lines), shared=True)
        assert not any("Traceback" in outcome.output for outcome in outcomes), outcomes
        return outcomes

    return start


def test_of_two_fits_into_one_folder_one_is_refused(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    fit = ["fit", "--trainer.logger.init_args.name", "a", "--checkpoint.every_n_batches", "1"]
    outcomes = run([*fit, "--trainer.max_steps", "400"], [*fit, "--trainer.max_steps", "400"])
    (kept,), (refused,) = ([o for o in outcomes if o.status == status] for status in (0, 2))
    assert re.search(r"error: The .*folder runs/a.* is in use by another run \(process \d+ on ", refused.output)
    assert "Training:" not in refused.output
    (checkpoint,) = (tmp_path / "work").rglob("last.ckpt")
    assert torch.load(checkpoint, weights_only=False)["global_step"] == 400
    assert "The run is in runs/a" in kept.output


def test_two_ranks_are_refused_like_one(run: Callable[..., list[Outcome]], tmp_path: Path) -> None:
    try:
        hold(tmp_path / "work/runs/a/checkpoints.lock", what="it")
        (outcome,) = run(["fit", "--trainer.logger.init_args.name", "a", "--trainer.devices", "2"])
    finally:
        release_all()
    assert outcome.status == 2, outcome.output[-3000:]
    assert outcome.output.count("is in use by another run") == 1
    assert not list((tmp_path / "work").rglob("*.ckpt"))


@pytest.mark.parametrize(("logger", "needs"), [(CSV, None), (TENSORBOARD, None), (WANDB, "wandb"), ("false", None)])
def test_a_run_goes_on_whatever_its_logger(
    run: Callable[..., list[Outcome]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger: str, needs: str | None
) -> None:
    if needs:
        pytest.importorskip(needs)
        monkeypatch.setenv("WANDB_MODE", "offline")
    words = ["--trainer.logger", logger]
    for steps in (4, 8):
        (outcome,) = run(["fit", *words, "--trainer.max_steps", str(steps), "--ckpt_path", "auto"])
        assert outcome.status == 0, outcome.output[-3000:]
        assert ("Going on from" in outcome.output) == (steps == 8)
    (checkpoint,) = (tmp_path / "work").rglob("last.ckpt")
    assert torch.load(checkpoint, weights_only=False)["global_step"] == 8
    folder = checkpoint.parents[1]
    if logger is CSV:
        rows = list(csv.DictReader((folder / "metrics.csv").open()))
        assert [int(row["step"]) for row in rows if row.get("train/generator")] == sorted(range(1, 9))
    (outcome,) = run(["test", *words, "--ckpt_path", "last"])
    assert outcome.status == 0, outcome.output[-3000:]
    assert f"Going on from {checkpoint.relative_to(tmp_path / 'work')}" in outcome.output
    assert json.loads((folder / "channel.json").read_text())
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith("version_")] in ([], [folder.name])
