"""A part that does not load or cannot be made says why in one sentence, with the package that is missing."""

import sys

import pytest

from tests.support.command_line import run
from tests.support.paths import CONFIGS

PARTS = """
from lightning.pytorch import Callback

class Bad(Callback):
    def __init__(self, a: int = 1):
        raise KeyError("weights")

class Lazy(Callback):
    def __init__(self, a: int = 1):
        import nowhere_pkg
"""
MODULES = {"parts_of_mine": PARTS, "parts_missing": "import nowhere_pkg.sub\nclass Loss: pass\n",
           "parts_raising": "raise RuntimeError('the licence server is down')"}  # fmt: skip


@pytest.fixture
def sentence(monkeypatch, capsys, tmp_path):
    """What `fit` says about a part before it ends with status 2."""
    for name, text in MODULES.items():
        (tmp_path / f"{name}.py").write_text(text)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def said(*words):
        with pytest.raises(SystemExit) as end:
            run(monkeypatch, "fit", "--config", CONFIGS / "quickstart.yaml", "--trainer.accelerator", "cpu", *words)
        assert end.value.code == 2
        return capsys.readouterr().err.strip().splitlines()[-1].removeprefix("error: ")

    return said


@pytest.mark.parametrize(("words", "expected"), [
    (["--trainer.callbacks+=parts_missing.Loss"], "parts_missing.Loss needs nowhere_pkg, which is not installed: "
     "pip install nowhere_pkg."),
    (["--model.init_args.reconstruction_loss", "parts_missing.Loss"], "parts_missing.Loss needs nowhere_pkg, which "
     "is not installed: pip install nowhere_pkg."),
    (["--trainer.callbacks+=parts_of_mine.Lazy"], "parts_of_mine.Lazy needs nowhere_pkg, which is not installed: "
     "pip install nowhere_pkg."),
    (["--trainer.callbacks+=parts_raising.X"], "parts_raising.X does not load (RuntimeError: the licence server is "
     "down): correct the module parts_raising."),
    (["--trainer.callbacks+=parts_of_mine.Bad"], "parts_of_mine.Bad cannot be made (KeyError: 'weights', "
     "parts_of_mine.py line 6): correct its init_args, or give another class_path."),
])  # fmt: skip
def test_a_part_that_fails_says_why(sentence, words, expected):
    assert sentence(*words) == expected


@pytest.mark.parametrize(("words", "expected"), [
    (["--trainer.callbacks", "[EarlyStopping]"], "trainer.callbacks lightning.pytorch.callbacks.EarlyStopping is not "
     "accepted (the following arguments are required: monitor)."),
    (["--optimizer", "Adam"], "unrecognized arguments: --optimizer Adam. Did you mean "
     "'model.init_args.optimization.optimizer' instead of 'optimizer'?"),
])  # fmt: skip
def test_what_is_missing_or_elsewhere_is_named(sentence, words, expected):
    assert sentence(*words) == expected


def test_a_logger_that_lightning_has_ended(sentence):
    assert "NeptuneLogger has been ended" in sentence("--trainer.logger", "lightning.pytorch.loggers.NeptuneLogger")


def test_a_mistyped_name_still_has_its_hint(sentence):
    said = sentence("--trainer.logger", "lightning.pytorch.loggers.CSVLoger")
    assert said.endswith("Did you mean 'CSVLogger' instead of 'CSVLoger'?")


def test_mlflow_in_a_folder_names_the_variable(sentence, monkeypatch):
    pytest.importorskip("mlflow")
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    said = sentence("--trainer.logger", "lightning.pytorch.loggers.MLFlowLogger", "--trainer.max_steps", "-2")
    if "max_steps" not in said:  # MLflow before 3.17 takes a folder
        assert "MLFLOW_ALLOW_FILE_STORE=true" in said and "sqlite:///mlflow.db" in said


@pytest.mark.parametrize(("words", "expected"), [
    (["--model.init_args.codec.init_args.encoder", "codec.FSQ"], "model.codec.encoder codec.FSQ is not accepted: it "
     "takes a class of the kind Encoder."),
    (["--model.init_args.optimization.optimizer", "torch.nn.Linear"], "model.optimization.optimizer torch.nn.Linear is "
     "not accepted: it takes a class of the kind Optimizer."),
    (["--data.train", "codec.FSQ"], "data.train codec.FSQ is not accepted: it takes a class of the kind AudioSource."),
])  # fmt: skip
def test_a_class_of_another_kind_is_named_with_its_option(sentence, words, expected):
    assert sentence(*words) == expected
