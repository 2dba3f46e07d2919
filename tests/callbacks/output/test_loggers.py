"""Figures, audio, tables and texts reach TensorBoard, W&B, MLflow, Comet and Neptune; a service that fails costs a
warning, and one that takes numbers alone nothing."""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import soundfile
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from callbacks.output.loggers import show_audio, show_figure, show_image, show_table, show_text
from callbacks.output.services import csv_text, service_of, wav_bytes

RATE, STEP = 16_000, 7


class Row(NamedTuple):
    channel: str
    stoi: float
    reasons: list


ROWS = [Row("a|b", 0.5, []), Row("c", float("nan"), [])]


def trainer_of(*loggers, rank=0):
    return SimpleNamespace(is_global_zero=rank == 0, loggers=list(loggers), global_step=STEP)


def show_all(logger, rank=0):
    trainer = trainer_of(logger, rank=rank)
    show_image(trainer, "channel/quality", np.full((4, 6, 3), 200, np.uint8), step=STEP)
    show_audio(trainer, "channel/clip_0/bsc-0.1", np.linspace(-2, 2, 400), sample_rate=RATE, step=STEP)
    show_table(trainer, "channel/scores", ROWS, step=STEP, leave_out=("reasons",))
    show_text(trainer, "note", "as said", step=STEP)


def test_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = TensorBoardLogger(tmp_path, name="", version="")
    show_all(logger)
    logger.finalize("success")
    seen = EventAccumulator(str(tmp_path), {"tensors": 0, "images": 0, "audio": 0}).Reload()
    assert [event.step for event in seen.Images("channel/quality")] == [STEP]
    assert seen.Audio("channel/clip_0/bsc-0.1")[0].sample_rate == RATE
    table = seen.Tensors("channel/scores/text_summary")[0].tensor_proto.string_val[0].decode()
    assert table.splitlines() == ["| channel | stoi |", "| --- | --- |", "| a\\|b | 0.5 |", "| c |  |"]
    assert seen.Tensors("note/text_summary")[0].tensor_proto.string_val[0] == b"as said"


@pytest.mark.slow
def test_wandb_offline(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    from lightning.pytorch.loggers import WandbLogger

    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("CONFIG", "CACHE", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    logger = WandbLogger(save_dir=tmp_path, project="p", offline=True)
    try:
        logger.log_metrics({"a": 1.0}, step=STEP)
        show_all(logger)
        summary = dict(logger.experiment.summary)
        media = Path(logger.experiment.dir, "media")
    finally:
        wandb.finish()
    assert {"a", "channel/quality", "channel/clip_0/bsc-0.1", "channel/scores", "note"} <= summary.keys()
    assert summary["trainer/global_step"] == STEP
    assert {path.suffix for path in media.rglob("*") if path.is_file()} == {".png", ".wav", ".json"}
    (audio,) = media.rglob("*.wav")
    assert soundfile.info(audio).samplerate == RATE
    tables = [json.loads(path.read_text()) for path in media.rglob("channel/scores*.json")]
    assert [(table["columns"], table["data"]) for table in tables] == [
        (["channel", "stoi"], [["a|b", 0.5], ["c", None]])]  # fmt: skip


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*file:FutureWarning", "ignore::DeprecationWarning:mlflow")
def test_mlflow_on_a_file_store(tmp_path, monkeypatch):
    pytest.importorskip("mlflow")
    from lightning.pytorch.loggers import MLFlowLogger

    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow 3.17 would have a database
    logger = MLFlowLogger("e", tracking_uri=f"file:{tmp_path / 'mlruns'}")
    logger.log_metrics({"a": 1.0}, step=STEP)
    show_all(logger)
    folder = tmp_path / "mlruns" / logger.experiment_id / logger.run_id / "artifacts"
    images = [path for path in (folder / "images").iterdir() if path.suffix == ".png"]
    assert len(images) == 1 and "quality" in images[0].name and f"step+{STEP}+" in images[0].name
    assert soundfile.info(folder / "channel" / "clip_0" / "bsc-0.1" / f"step={STEP}.wav").frames == 400
    assert (folder / "channel" / "scores" / f"step={STEP}.csv").read_text() == "channel,stoi\na|b,0.5\nc,\n"
    assert (folder / "note" / f"step={STEP}.txt").read_text() == "as said"


class Calls:
    """An experiment that notes what is called, also on its items."""

    def __init__(self, noted=None, path=""):
        self.noted, self.path = [] if noted is None else noted, path

    def __getitem__(self, key):
        return Calls(self.noted, key)

    def __getattr__(self, name):
        def call(*args, **settings):
            self.noted.append((self.path, name, args, settings))

        return call


def named(kind):
    """A logger whose class has a name of Lightning's, with an experiment that notes its calls."""
    return type(kind, (), {"experiment": Calls()})()


def test_comet_by_its_documented_calls():
    logger = named("CometLogger")
    show_all(logger)
    image, audio, table, text = logger.experiment.noted
    assert image[1] == "log_image" and image[2][0].shape == (4, 6, 3)
    assert image[3] == {"name": "channel/quality", "step": STEP}
    assert audio[1] == "log_audio" and np.abs(audio[2][0]).max() == 1
    assert audio[3] == {"sample_rate": RATE, "file_name": "channel/clip_0/bsc-0.1.wav", "step": STEP}
    rows = {"tabular_data": [["a|b", 0.5], ["c", None]], "headers": ["channel", "stoi"]}
    assert table[1:] == ("log_table", ("channel_scores_7.csv",), rows)
    assert text[1:] == ("log_text", ("as said",), {"step": STEP, "metadata": {"name": "note"}})


def test_neptune_by_its_documented_calls(monkeypatch):
    types = ModuleType("neptune.types")
    types.File = SimpleNamespace(as_image=lambda pixels: ("image", pixels.shape),
                                 from_content=lambda content, extension: (extension, content))  # fmt: skip
    monkeypatch.setitem(sys.modules, "neptune", ModuleType("neptune"))
    monkeypatch.setitem(sys.modules, "neptune.types", types)
    logger = named("NeptuneLogger")
    show_all(logger)
    image, audio, table, text = logger.experiment.noted
    assert image == ("channel/quality", "append", (("image", (4, 6, 3)),), {"step": STEP})
    assert audio[:2] == (f"channel/clip_0/bsc-0.1/step={STEP}", "upload")
    assert audio[2][0][0] == "wav" and audio[2][0][1][:4] == b"RIFF"
    assert table[2] == (("csv", "channel,stoi\na|b,0.5\nc,\n"),)
    assert text[2] == (("txt", "as said"),)


def test_a_subclass_is_its_base_and_numbers_alone_are_passed_over(tmp_path):
    class Own(TensorBoardLogger):
        pass

    assert service_of(Own(tmp_path)) is not None
    csv_logger = CSVLogger(tmp_path)
    assert service_of(csv_logger) is None
    show_all(csv_logger)
    show_figure(trainer_of(csv_logger), "a", lambda: pytest.fail("drawn for nobody"), step=STEP)
    assert not list(tmp_path.iterdir())


def test_other_ranks_show_nothing():
    logger = named("CometLogger")
    show_all(logger, rank=1)
    assert logger.experiment.noted == []


def test_a_service_that_fails_costs_a_warning():
    class CometLogger:
        @property
        def experiment(self):
            raise ConnectionError("no route to host")

    with pytest.warns(UserWarning, match="CometLogger did not take .*no route to host"):
        show_text(trainer_of(CometLogger()), "a", "b", step=STEP)


def test_a_single_sample_and_an_empty_table_are_no_errors():
    logger = named("CometLogger")
    show_audio(trainer_of(logger), "a", np.zeros(1), sample_rate=RATE, step=STEP)
    show_table(trainer_of(logger), "a", [], step=STEP)
    ((_, name, (signal,), _),) = logger.experiment.noted
    assert name == "log_audio" and len(signal) == 2
    assert soundfile.info(__import__("io").BytesIO(wav_bytes(np.zeros(3), RATE))).frames == 3
    assert csv_text(["a", "b"], [[None, 1]]) == "a,b\n,1\n"
