"""Scores along a run: hours by batches with and without discriminators, a row for each checkpoint, the figure."""

import csv

import pytest
import torch

from codec import save_codec
from tests.recipe import curve
from tests.support.codec_fakes import tiny_codec


def test_hours_count_batches_before_and_with_discriminators():
    assert curve.hours(1000, seconds=0.36, adversarial=1.8, start=1000) == pytest.approx(0.1)
    assert curve.hours(3000, seconds=0.36, adversarial=1.8, start=1000) == pytest.approx(0.1 + 1.0)


def test_a_row_for_each_checkpoint_in_the_order_of_batches(tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    save_codec(tiny_codec(), tmp_path / "codec.safetensors")
    batches = {"late.safetensors": 2000, "early.safetensors": 500}
    for name in batches:
        (tmp_path / name).write_bytes((tmp_path / "codec.safetensors").read_bytes())
    monkeypatch.setattr(curve, "read_checkpoint", lambda path: {"global_step": batches[path.name]})
    found = iter([0.8, 0.7])
    monkeypatch.setattr(curve, "mean_scores", lambda codec, dev: {"stoi": next(found), "pesq_wb": 1.5})
    words = ["FSQ", *(str(tmp_path / name) for name in batches), "--dev", "d.tsv", "--out", str(tmp_path / "out"),
             "--seconds", "0.36", "--adversarial-seconds", "0.72", "--start", "1000"]  # fmt: skip
    assert curve.main(words) == 0
    with (tmp_path / "out/FSQ.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["checkpoint"], row["stoi"]) for row in rows] == [("batch 500", "0.7"), ("batch 2000", "0.8")]
    assert [float(row["hours"]) for row in rows] == [0.05, 0.3]
    drawn = (tmp_path / "out/curve.svg").read_bytes()
    curve.draw(tmp_path / "out")
    assert (tmp_path / "out/curve.svg").read_bytes() == drawn and b"FSQ" in drawn


def test_a_file_that_is_no_checkpoint_is_refused_in_a_sentence(tmp_path, capsys):
    words = ["FSQ", str(tmp_path / "none.ckpt"), "--dev", "d.tsv", "--out", str(tmp_path), "--seconds", "1",
             "--adversarial-seconds", "1", "--start", "1"]  # fmt: skip
    assert curve.main(words) == 2
    assert "There is no checkpoint" in capsys.readouterr().err
