"""metrics.csv goes on: nothing logged before is lost, and a resumed run sets aside what it logs again."""

import csv

import pytest
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader

from callbacks import RunCheckpoint
from codec.training.runs.csv_log import ABANDONED, METRICS, MetricsFile, keep_metrics
from tests.support.training import VoiceData, quiet_trainer, tiny_module


class Clips(VoiceData):
    """Its validation clips in one loader."""

    def val_dataloader(self):
        return DataLoader(super().val_dataloader(), batch_size=None)


def rows(path):
    with path.open(newline="") as file:
        return [{name: value for name, value in row.items() if value} for row in csv.DictReader(file)]


def sorted_cells(row):
    return sorted(row.items())


def kept(folder, kind=CSVLogger):
    logger = kind(folder, name="run", version="")
    keep_metrics([logger])
    return logger


def test_rows_of_an_earlier_run_stay_and_columns_are_united(tmp_path):
    for values in ({"a": 1.0}, {"b": 2.0}, {"a": 3.0, "c": 4.0}):
        logger = kept(tmp_path)
        logger.log_metrics(values, step=0)
        logger.finalize("success")
    assert rows(tmp_path / "run" / METRICS) == [
        {"a": "1.0", "step": "0"}, {"b": "2.0", "step": "0"}, {"a": "3.0", "c": "4.0", "step": "0"}]  # fmt: skip


def test_two_writers_lose_nothing_of_each_other(tmp_path):
    one, other = MetricsFile(tmp_path), MetricsFile(tmp_path)
    for number in range(3):
        for writer, name in ((one, f"one{number}"), (other, "other")):
            writer.log_metrics({name: float(number)}, number)
            writer.save()
    assert len(rows(tmp_path / METRICS)) == 6
    assert {name for row in rows(tmp_path / METRICS) for name in row} == {"one0", "one1", "one2", "other", "step"}


def test_a_half_written_row_is_removed(tmp_path):
    first = MetricsFile(tmp_path)
    first.log_metrics({"a": 1.0, "b": 2.0}, 0)
    first.save()
    with (tmp_path / METRICS).open("a") as file:
        file.write("7.0,8.")
    again = MetricsFile(tmp_path)
    again.log_metrics({"a": 5.0}, 1)
    again.save()
    assert rows(tmp_path / METRICS) == [{"a": "1.0", "b": "2.0", "step": "0"}, {"a": "5.0", "step": "1"}]


def test_a_subclass_is_kept_too_unless_it_writes_by_itself(tmp_path):
    class Own(CSVLogger):
        pass

    class Other(CSVLogger):
        @property
        def experiment(self):
            return MetricsFile(self.log_dir)

    assert isinstance(kept(tmp_path, Own).experiment, MetricsFile)
    logger = kept(tmp_path, Other)
    assert type(logger) is Other


@pytest.mark.parametrize("stop", [5, 8])
def test_a_resumed_run_has_each_batch_once_and_the_abandoned_rows_beside(tmp_path, stop):
    """Batches 1 to `stop`, then on from batch 4: as if it had never gone further."""

    def fit(folder, steps, resume=None):
        saver = RunCheckpoint(4, 10, dirpath=str(folder / "ckpt"))
        trainer = quiet_trainer(
            max_steps=steps, callbacks=[saver], logger=kept(folder), log_every_n_steps=1, enable_checkpointing=True,
            val_check_interval=4, check_val_every_n_epoch=None, limit_val_batches=1.0, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(tiny_module(), Clips(), ckpt_path=resume)
        return rows(folder / "run" / METRICS)

    whole = fit(tmp_path / "whole", 9)
    before = fit(tmp_path / "broken", stop)
    after = fit(tmp_path / "broken", 9, tmp_path / "broken" / "ckpt" / "batch=4.ckpt")
    steps = sorted(int(row["step"]) for row in whole if "train/mel" in row)
    assert sorted(int(row["step"]) for row in after if "train/mel" in row) == steps == list(range(9))
    assert sorted(map(sorted_cells, after)) == sorted(map(sorted_cells, whole))
    assert len(rows(tmp_path / "broken" / "run" / ABANDONED)) >= stop - 4
    assert len(before) <= len(after)
