"""What stands beside the scores: missing and withheld ones, speakers, delays; and what a checkpoint makes of them."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.metrics import PESQ, SISDR, STOI, Unscorable
from callbacks.training.run_checkpoint import RunCheckpoint
from codec.channels import BinarySymmetricChannel
from tests.support.codec_fakes import CountingModule, clip, loader, trainer
from tests.support.speech import speech_like

CLIPS = [clip(f"voice/clip_{number}", speech_like(number, 0.8 + 0.1 * number)) for number in range(4)]
SHORT = clip("voice/short", speech_like(9, 0.2))  # too short for STOI


def evaluation(**options: Any) -> ChannelEvaluation:
    defaults = {"bit_error_rates": (0.0, 0.1), "metrics": [STOI()], "num_workers": 0, "audio_clips": 0}
    return ChannelEvaluation(**{**defaults, **options})


def run_test(root: Path, module: CountingModule, clips: list[dict[str, Any]], **options: Any) -> ChannelEvaluation:
    callback = evaluation(**options)
    trainer(root, [callback]).test(module, loader(clips), verbose=False)
    return callback


class Endless(STOI):
    """STOI without a worst value."""

    worst = None


def test_without_a_worst_value_there_is_no_mean(
    tmp_path: Path, module: CountingModule, capsys: pytest.CaptureFixture[str]
) -> None:
    callback = run_test(tmp_path, module, [*CLIPS, SHORT], metrics=[Endless()])
    assert all(np.isnan([row.mean, row.low, row.high]).all() for row in callback.results)
    assert {(row.scored, row.unscorable, row.imputed) for row in callback.results} == {(4, 1, 0)}
    with (tmp_path / "channel.csv").open() as file:
        assert [(line["mean"], line["imputed"]) for line in csv.DictReader(file)] == [("", "0")] * 2
    text = capsys.readouterr().out
    assert "none [1]" in text and "without a worst value (STOI) there is no mean to compare" in text


class Listened(STOI):
    """The same STOI for every signal."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        return self.value


class FakePESQ(PESQ):
    """PESQ that every signal passes with 2.0."""

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        return 2.0


@pytest.mark.parametrize(("stoi", "shown"), [(0.41, True), (0.39, False)])
def test_pesq_is_withheld_where_no_speech_is_left(
    tmp_path: Path, module: CountingModule, stoi: float, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    logger = CSVLogger(tmp_path, name="", version="")
    callback = evaluation(metrics=[FakePESQ(), Listened(stoi)], bit_error_rates=(0.5,))
    trainer(tmp_path, [callback], logger=logger).test(module, loader(CLIPS), verbose=False)
    pesq, intelligibility = callback.results
    assert intelligibility.mean == pytest.approx(stoi) and intelligibility.withheld == ""
    text = capsys.readouterr().out
    assert (pesq.scored, pesq.unscorable) == (4, 0)
    if shown:
        assert (pesq.mean, pesq.withheld) == (2.0, "") and "PESQ says" not in text
    else:
        assert np.isnan([pesq.mean, pesq.low, pesq.high]).all() and "PESQ says nothing" in pesq.withheld
        assert f"–: {pesq.withheld}." in text
    with (tmp_path / "metrics.csv").open() as file:  # what a callback monitors is there, and never favours noise
        (logged,) = [row["channel/pesq_wb/ber_0.5"] for row in csv.DictReader(file)]
    assert float(logged) == (2.0 if shown else 1.0)
    entries = json.loads((tmp_path / "channel.json").read_text())["clips"]
    assert all(entry["channels"]["bsc-0.5"]["scores"]["pesq_wb"] == [2.0] for entry in entries)
    alone = run_test(tmp_path / "alone", module, CLIPS[:1], metrics=[FakePESQ()], bit_error_rates=(0.5,))
    assert alone.results[0].mean == 2.0  # the rule needs STOI


def test_speakers_reach_the_files_and_widen_the_intervals(
    tmp_path: Path, module: CountingModule, capsys: pytest.CaptureFixture[str]
) -> None:
    clips = [clip(f"{n}", speech_like(n % 2, 0.8)) for n in range(8)]  # eight clips, of which only two differ
    known = [{**batch, "speaker": [f"voice {n % 2}"]} for n, batch in enumerate(clips)]
    alone = run_test(tmp_path / "alone", module, clips, metrics=[SISDR()], bit_error_rates=(0.0,))
    found = run_test(tmp_path, module, known, metrics=[SISDR()], bit_error_rates=(0.0,))
    assert (found.results[0].speakers, alone.results[0].speakers) == (2, 0)
    assert found.results[0].mean == alone.results[0].mean
    widths = [row.high - row.low for row in (alone.results[0], found.results[0])]
    assert widths[1] > 3 * widths[0]
    assert "over 8 clips of 2 speakers" in capsys.readouterr().out
    entries = json.loads((tmp_path / "channel.json").read_text())["clips"]
    assert [entry["speaker"] for entry in entries] == [f"voice {n % 2}" for n in range(8)]


def test_delays_stand_beside_the_scores(
    tmp_path: Path, module: CountingModule, capsys: pytest.CaptureFixture[str]
) -> None:
    class Late(BinarySymmetricChannel):
        """Holds three frames of 20 ms back."""

        delay_frames = 3

    plain = run_test(tmp_path / "plain", module, CLIPS[:2])
    assert {row.delay_ms for row in plain.results} == {0.0} and "delay (ms)" not in capsys.readouterr().out
    late = run_test(tmp_path, module, CLIPS[:2], bit_error_rates=(0.0,), channels=[Late(0.1)])
    assert [row.delay_ms for row in late.results] == [0.0, 60.0]
    assert "delay (ms)" in capsys.readouterr().out
    with (tmp_path / "channel.csv").open() as file:
        assert [line["delay_ms"] for line in csv.DictReader(file)] == ["0.0", "60.0"]
    assert [row["delay_ms"] for row in json.loads((tmp_path / "channel.json").read_text())["rows"]][-1] == 60.0


class Fails(STOI):
    """A score of 0.5; in one validation no score of the first clip in two, and 0.9 of the other."""

    def __init__(self, failing: int) -> None:
        super().__init__()
        self.failing, self.calls = failing, 0

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        validation, place = divmod(self.calls, 2)
        self.calls += 1
        if validation != self.failing:
            return 0.5
        if place == 0:
            raise Unscorable("failed")
        return 0.9


class EndlessFails(Fails):
    """The same without a worst value."""

    worst = None


@pytest.mark.parametrize("metric", [Fails, EndlessFails])
@pytest.mark.parametrize(("failing", "best"), [(0, 2), (1, 1)])
def test_a_checkpoint_is_not_chosen_for_failing(
    tmp_path: Path, module: CountingModule, metric: type[Fails], failing: int, best: int
) -> None:
    """One of two validations has a score of one clip in two, and a higher one."""
    callback = evaluation(metrics=[metric(failing)], bit_error_rates=(0.0,), fit_clips=2)
    monitor = "channel/stoi/ber_0"
    lightning = ModelCheckpoint(tmp_path / "lightning", filename="best-{step}", monitor=monitor, mode="max")
    ours = RunCheckpoint(100, monitor=monitor, best=1, dirpath=str(tmp_path / "ours"))
    options = {"max_epochs": 2, "limit_train_batches": 1, "num_sanity_val_steps": 0}
    runner = trainer(tmp_path, [callback, lightning, ours], **options)
    runner.fit(module, loader(CLIPS[:1]), loader(CLIPS[:2]))
    value = float(runner.callback_metrics[monitor])  # of the second validation
    assert np.isnan(value) if failing and metric is EndlessFails else value == pytest.approx([0.5, 0.45][failing])
    assert [path.name for path in (tmp_path / "lightning").iterdir()] == [f"best-step={best}.ckpt"]
    assert (tmp_path / "ours" / "best.ckpt").samefile(tmp_path / "ours" / f"batch={best}.ckpt")
