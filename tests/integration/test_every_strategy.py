"""No strategy hangs: each name that Lightning registers works or is refused, also where ranks outnumber the clips."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from lightning.pytorch.strategies import StrategyRegistry

from codec.errors import InvalidValue
from codec.training.distributed.supported import WORKING, check_options
from tests.support.forked import command_lines
from tests.support.paths import ROOT
from tests.support.speech import write_speech

NAMES = sorted(StrategyRegistry.available_strategies())


@pytest.mark.parametrize("name", [*NAMES, "deepspeed_stage_3", "horovod", "dp", "single_device", "DDP"])
def test_a_name_is_one_that_works_or_is_refused_at_once(name: str) -> None:
    kind = StrategyRegistry[name]["strategy"] if name in NAMES else None
    if kind is not None and issubclass(kind, WORKING):
        check_options({"strategy": name, "precision": None})
        return
    with pytest.raises(InvalidValue, match="ddp_alternating"):
        check_options({"strategy": name, "precision": None})


@pytest.mark.slow
def test_ranks_may_outnumber_the_clips(recordings: Path, tmp_path: Path) -> None:
    """Three ranks and one clip: sanity check, validation and test, by `auto` and by name."""
    clip = tmp_path / "clip"
    clip.mkdir()
    shutil.copy(next(recordings.rglob("*.wav")), clip)
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text((ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(recordings)))
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", tiny)
    options = [word for file in files for word in ("--config", str(file))]
    options += ["--data.val.init_args.root", str(clip), "--data.test.init_args.root", str(clip)]
    commands = [
        ["fit", *options, "--trainer.devices", "3", "--trainer.overfit_batches", "2"],
        ["test", *options, "--trainer.devices", "2", "--trainer.strategy", "ddp_alternating"],
        ["fit", *options, "--trainer.devices", "2", "--trainer.strategy", "ddp"],
    ]
    trained, tested, refused = command_lines(commands, tmp_path / "runs", limit=300)
    assert trained.status == tested.status == 0, trained.output[-2000:] + tested.output[-2000:]
    assert "over 1 clip" in trained.output and "over 1 clip" in tested.output
    assert "batch 4 of 4" in trained.output
    assert refused.status == 2 and "ddp_alternating" in refused.output


@pytest.mark.slow
def test_three_ranks_predict_the_files_of_one(tmp_path: Path) -> None:
    """Among short clips one of eleven pieces, and more ranks than the last round has clips."""
    speech = write_speech(tmp_path / "c", [1.3, 31.7, 2.1, 1.7])
    tiny = tmp_path / "tiny.yaml"
    tiny.write_text((ROOT / "tests/support/tiny.yaml").read_text().replace("SPEECH", str(speech)))
    files = (ROOT / "configs/quickstart.yaml", ROOT / "configs/overlays/debug.yaml", tiny)
    options = [word for file in files for word in ("--config", str(file))]
    options += ["--data.piece_seconds", "3", "--data.highpass_hz", "30"]
    ranks = {"1": "auto", "3": "ddp_alternating"}
    commands = [
        ["predict", *options, "--trainer.devices", n, "--trainer.strategy", name, "--predictions.output_dir", n]
        for n, name in ranks.items()
    ]
    outcomes = command_lines(commands, tmp_path / "runs", limit=200)
    assert [outcome.status for outcome in outcomes] == [0, 0], outcomes[1].output[-2000:]
    one, three = (tmp_path / "runs" / str(number) / n for number, n in enumerate(ranks))
    names = sorted(path.name for path in one.iterdir())
    assert len(names) == 8 and sorted(path.name for path in three.iterdir()) == names
    assert all((one / name).read_bytes() == (three / name).read_bytes() for name in names if name.endswith(".wav"))
    for name in (name for name in names if name.endswith(".npz")):
        assert np.array_equal(np.load(one / name)["codes"], np.load(three / name)["codes"])
