"""One place for a run whatever its logger: found again by auto, last and best, and no other run's."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from jsonargparse import Namespace
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from codec.cli.command_line import LOGGER
from codec.training.runs.folders import LOCK, run_folder
from codec.training.runs.locks import release_all
from codec.training.runs.placement import Wish, place_run, same_settings
from tests.support.paths import ROOT
from tests.support.training import quiet_trainer

LOGGERS = "lightning.pytorch.loggers"
CONFIG = {"model": {"width": 3, "compiled": False}, "data": {"train": "a", "num_workers": 2}, "seed_everything": 0}
HOLD = """
import fcntl, os, sys, time
os.makedirs(os.path.dirname(sys.argv[1]))
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    release_all()


def block(kind, **settings):
    return Namespace(class_path=f"{LOGGERS}.{kind}", init_args=Namespace(settings))


def placed(logger, command="fit", wanted=None, *, root=None, dry=False, dirpath=None, **changes):
    """The folder that the command line chooses for a run, as `run_folder` finds it afterwards."""
    options = Namespace(logger=logger, default_root_dir=root, fast_dev_run=dry)
    place_run(options, Wish(command, wanted, dirpath, lambda: CONFIG | changes), default=LOGGER)
    release_all()
    made = {"CSVLogger": CSVLogger, "TensorBoardLogger": TensorBoardLogger}
    blocks = [] if options.logger is False else options.logger
    kinds = [(b.class_path.rpartition(".")[2], b.init_args) for b in (blocks if isinstance(blocks, list) else [blocks])]
    loggers = [made[kind](**settings.as_dict()) for kind, settings in kinds if kind in made]
    return run_folder(quiet_trainer(logger=loggers or False, default_root_dir=options.default_root_dir))


def trained(folder, **changes):
    """Leave in a folder what a run does."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "batch=2.ckpt").write_bytes(b"weights")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG | changes))
    return folder


@pytest.mark.parametrize(("logger", "folder"), [
    (Namespace(class_path=LOGGER["class_path"], init_args=Namespace(LOGGER["init_args"])), "runs/run"),
    (True, "runs/run"),
    (None, "runs/run"),
    (block("TensorBoardLogger", save_dir="logs", name="a", version=4), "logs/a/version_4"),
    (block("WandbLogger", save_dir="runs", name="fsq", version=""), "runs/fsq"),  # over the default logger's options
    (block("WandbLogger", save_dir=".", project="codecs", id="k3"), "runs/codecs/k3"),
])  # fmt: skip
def test_a_version_names_the_folder(logger, folder):
    for wanted in (None, "auto", "last"):
        assert placed(logger, wanted=wanted) == Path(folder)


@pytest.mark.parametrize(("other", "folder"), [
    ({"save_dir": "runs", "name": "fsq"}, "runs/fsq"),
    ({"save_dir": "csv", "version": None}, "csv/lightning_logs/fsq"),
    ({"save_dir": "csv", "name": "a", "version": 3}, "csv/a/version_3"),
])  # fmt: skip
def test_a_second_logger_follows_the_version_of_the_first(other, folder):
    first, second = block("TensorBoardLogger", save_dir="runs", name="fsq", version=""), block("CSVLogger", **other)
    for _ in range(2):
        again = [first.clone(), second.clone()]
        assert placed(again) == Path("runs/fsq")
        (Path(CSVLogger(**again[1].init_args.as_dict()).log_dir)).mkdir(parents=True, exist_ok=True)
        assert Path(CSVLogger(**again[1].init_args.as_dict()).log_dir) == Path(folder)


@pytest.mark.parametrize(("logger", "base"), [
    (block("TensorBoardLogger", save_dir="logs", version=None), "logs/lightning_logs"),
    (block("CSVLogger", save_dir="logs", name="a", version=None), "logs/a"),
    ([block("WandbLogger", save_dir="."), block("CSVLogger", save_dir="logs", name="a")], "logs/a"),
    (block("WandbLogger", save_dir=".", project="codecs", name="fsq", version=None, id=None), "runs/codecs/fsq"),
    (block("MLFlowLogger", experiment_name="e", save_dir="./mlruns", tracking_uri=None, run_id=None), "runs/e"),
    (block("MLFlowLogger", experiment_name="e", tracking_uri="file:/x/mlruns", run_id=None), "/x/runs/e"),
    (block("CometLogger", project="codecs", experiment_key=None), "runs/codecs"),
    (False, "runs/run"),
])  # fmt: skip
def test_without_a_version_each_run_has_its_own_folder_and_auto_goes_back_to_it(tmp_path, logger, base):
    base = Path(str(tmp_path / base) if base.startswith("/x") else base)
    if isinstance(logger, Namespace) and logger.init_args.get("tracking_uri"):
        logger.init_args.tracking_uri = f"file:{tmp_path}/x/mlruns"
        base = tmp_path / "x" / "runs" / "e"
    fresh = lambda: [b.clone() for b in logger] if isinstance(logger, list) else getattr(logger, "clone", bool)()  # noqa: E731
    assert placed(fresh(), wanted="auto") == base / "version_0"
    assert placed(fresh()) == base / "version_0"  # nothing but a lock that nobody holds
    trained(base / "version_0")
    assert placed(fresh()) == base / "version_1"
    trained(base / "version_1", seed_everything=1)
    for wanted in ("auto", "last", "best", str(base / "version_0" / "checkpoints" / "batch=2.ckpt")):
        assert placed(fresh(), wanted=wanted) == base / "version_0"
    assert placed(fresh(), "test", "last", seed_everything=1) == base / "version_1"
    assert placed(fresh(), wanted="auto", data={"train": "b"}) == base / "version_2"  # another run's are not resumed
    assert placed(fresh(), "test", "last", data={"train": "b"}) == base / "version_0"  # model and seed are the same
    assert placed(fresh(), "test") == base / "version_2"
    assert list(tmp_path.glob("*")) == [tmp_path / base.relative_to(tmp_path).parts[0] if base.is_absolute()
                                        else tmp_path / base.parts[0]]  # fmt: skip


def test_a_stated_root_is_the_folder_of_a_run_without_a_logger():
    assert placed(False, root="mine") == Path("mine")
    assert placed(False, root="mine", wanted="auto") == Path("mine")


def test_a_dry_run_leaves_nothing(tmp_path):
    folder = placed(False, dry=True)
    assert folder != tmp_path and not list(tmp_path.iterdir())


def test_two_runs_that_start_together_have_two_folders(tmp_path):
    lock = Path("runs/run/version_0") / LOCK
    with subprocess.Popen([sys.executable, "-c", HOLD, str(lock.absolute())], cwd=ROOT, stdout=-1) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert placed(False) == Path("runs/run/version_1")
        other.kill()
    assert placed(False) == Path("runs/run/version_0")  # the killed one has left nothing but its lock


def test_a_service_goes_on_with_its_own_run(tmp_path):
    trained(Path("runs/p/version_0"))
    (tmp_path / "runs/p/version_0/run.json").write_text('{"loggers": {"WandbLogger": "abc"}}')
    for wanted, name in (("auto", "abc"), (None, None)):
        logger = block("WandbLogger", project="p", id=None, version=None)
        placed(logger, wanted=wanted)
        assert logger.init_args.id == name


def test_settings_of_speed_make_no_other_run():
    assert same_settings(CONFIG, {**CONFIG, "data": {"train": "a", "num_workers": 9}, "new": 1})
    assert not same_settings(CONFIG, {**CONFIG, "model": {"width": 4}})
    assert not same_settings({"a": [1, 2]}, {"a": [1]})
