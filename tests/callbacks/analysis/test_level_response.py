"""Output level by input level: one with a fixed output gets louder, relative to its input, as the input falls."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import LightningModule

from callbacks import LevelResponse
from codec.training.codec_module import CodecModule
from codec.training.comparison_module import ComparisonModule, System
from tests.support.codec_fakes import clip, loader, tiny_codec, trainer
from tests.support.command_line import run, small
from tests.support.paths import CONFIGS
from tests.support.speech import speech_like, write_speech


def measure(folder: Path, module: LightningModule, audio: dict[str, np.ndarray], **options: Any) -> LevelResponse:
    response = LevelResponse((0.0, -20.0, -40.0), bootstrap=200, **options)
    batches = [clip(name, wave) | {"speaker": [name[:1]]} for name, wave in audio.items()]
    trainer(folder, [response]).test(module, loader(batches), verbose=False)
    return response


def level_blind() -> torch.nn.Module:
    """A codec whose output does not depend on its input."""
    codec = tiny_codec()
    with torch.no_grad():
        codec.decoder.backbone.out_norm.weight.zero_()
    return codec


def test_a_codec_that_ignores_its_input_is_louder_the_quieter_that_is(tmp_path: Path) -> None:
    audio = {f"{n}.wav": speech_like(n, 0.4) for n in range(3)}
    response = measure(tmp_path, CodecModule(level_blind()), audio)
    means = [row.mean for row in response.results]
    assert [row.level for row in response.results] == ["0 dBFS", "-20 dBFS", "-40 dBFS"]
    assert np.diff(means) == pytest.approx([20.0, 20.0], abs=0.01)
    assert all(row.low <= row.mean <= row.high and row.scored == 3 for row in response.results)
    with (tmp_path / "levels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["mean"]) for row in rows] == means
    assert (tmp_path / "levels.svg").is_file()


def test_a_comparison_measures_each_codec_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other = tiny_codec(), tiny_codec((5, 5, 5))
    systems = [System("one", codec=one), System("again", codec=one), System("other", codec=other)]
    audio = {"a.wav": speech_like(0, 0.4), "b.wav": np.zeros(4000, dtype=np.float32)}
    response = measure(tmp_path, ComparisonModule(systems), audio)
    assert [row.codec for row in response.results] == ["one"] * 3 + ["other"] * 3
    assert all((row.scored, row.unscorable) == (1, 1) for row in response.results)  # silence has no level
    assert "-40 dBFS" in capsys.readouterr().out


@pytest.mark.parametrize("peaks", [(), (3.0,), (float("nan"),)])
def test_levels_above_full_scale_are_refused(peaks: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="peaks_dbfs"):
        LevelResponse(peaks)


@pytest.mark.slow
def test_the_configuration_measures_the_pretrained_codecs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    speech = write_speech(tmp_path / "speech", [0.5, 0.6])
    words = small(speech, tmp_path / "runs")
    run(monkeypatch, "test", "--config", CONFIGS / "evaluate/levels.yaml", *words)
    with (tmp_path / "runs/pretrained/levels/levels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["codec"] for row in rows[::5]] == ["FSQ", "RVQ", "Student"] and len(rows) == 15
    assert all(row["scored"] == "2" for row in rows)
