"""Which of several channels is read, everywhere the same, and the warning where their mean loses speech."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from jsonargparse import ArgumentParser

from data import DataError, FolderSource, ShardSource, SpeechDataModule
from data.audio.channels import Channel
from data.audio.reading import read_whole
from data.prepare import FLAC, Recipe, main, pack
from tests.data.test_datamodule import batches

RATE = 16000


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three channels of noise, of which the third is the loudest."""
    samples = np.random.default_rng(0).standard_normal((2 * RATE, 3)) * (0.01, 0.02, 0.1)
    (tmp_path / "corpus").mkdir()
    soundfile.write(tmp_path / "corpus/a.wav", samples, RATE, subtype="FLOAT")
    return tmp_path / "corpus"


@pytest.mark.parametrize(("channel", "number"), [("first", 0), ("loudest", 2), (0, 0), (1, 1), (2, 2), ("mean", None)])
def test_channel_is_the_same_everywhere(corpus: Path, tmp_path: Path, channel: Channel, number: int | None) -> None:
    samples = torch.from_numpy(soundfile.read(corpus / "a.wav", dtype="float32")[0])
    expected = samples.mean(dim=1) if number is None else samples[:, number]
    assert torch.equal(read_whole(corpus / "a.wav", (RATE,), channel=channel)[0][0], expected)
    source = FolderSource(str(corpus))
    options: Any = dict(test=source, predict_from=source, crop_seconds=2.0, num_workers=0, channel=channel)
    for in_memory in (False, True):
        (batch,) = batches(SpeechDataModule(source, in_memory=in_memory, batch_size=1, **options), 1)
        assert torch.equal(batch["audio"][0, 0], expected)
    module = SpeechDataModule(**options, piece_seconds=1.0)
    module.setup("test")
    module.setup("predict")
    assert torch.equal(next(iter(module.test_dataloader()))["audio"][0, 0], expected)
    pieces = [batch["audio"][0, 0] for batch in module.predict_dataloader()]
    assert len(pieces) == 2 and torch.equal(torch.cat(pieces), expected)
    pack(source, tmp_path / "packed", recipe=Recipe(FLAC, channel=channel))
    (clip,) = ShardSource(str(tmp_path / "packed")).clips()
    assert (read_whole(clip.path, (RATE,))[0][0] - expected).abs().max() <= 2**-15


def test_a_channel_that_is_not_there_is_a_bad_file(corpus: Path) -> None:
    module = SpeechDataModule(test=FolderSource(str(corpus)), channel=3, num_workers=0)
    with pytest.raises(DataError, match="the one clip"):
        module.setup("test")
    assert module.bad_file_reasons() == {str(corpus / "a.wav"): "has no channel 3: its channels are 0 to 2"}


@pytest.mark.parametrize("value", [-1, "second"])
def test_other_choices_are_refused(value: Any, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="must be mean, first, loudest, or the number"):
        SpeechDataModule(channel=value)
    assert main(["in", "out", "--format", "flac", "--channel", str(value)]) == 2
    assert "must be mean, first, loudest, or the number" in capsys.readouterr().err
    assert main(["in", "out", "--channel", "first"]) == 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("text", "value"), [("first", "first"), ("1", 1)])
def test_choice_on_the_command_line(text: str, value: Channel) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(SpeechDataModule, "data")
    module = parser.instantiate_classes(parser.parse_args([f"--data.channel={text}"])).data
    assert module.audio_format.channel == value


@pytest.mark.parametrize(
    ("gains", "warns"),
    [((1, -1), True), ((1, 0), True), ((1, 1), False), ((1, 0.9), False), ((1, 0, 0, 0, 0, 0), True)],
)
def test_where_the_mean_loses_speech_a_warning_says_so_once(
    tmp_path: Path, gains: tuple[float, ...], warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    speech = 0.1 * np.random.default_rng(0).standard_normal((RATE, 1))
    soundfile.write(tmp_path / "a.wav", speech * gains, RATE)
    module = SpeechDataModule(FolderSource(str(tmp_path)), num_workers=0, crop_seconds=0.5)
    with caplog.at_level(logging.WARNING):
        batches(module, 3)
        read_whole(tmp_path / "a.wav", (RATE,))
    assert caplog.text.count("below the loudest: set `data.channel` to loudest (usual where") == warns
    assert caplog.text.count(" first, or a number from 0 on") == warns
    assert module.bad_file_count() == 0 and module.bad_file_reasons() == {}
    caplog.clear()
    read_whole(tmp_path / "a.wav", (RATE,), channel="first")
    assert not caplog.records


def test_silence_and_rounding_are_no_loss(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "a.wav", 1e-4 * np.random.default_rng(0).standard_normal((RATE, 6)), RATE)
    read_whole(tmp_path / "a.wav", (RATE,))
    assert not caplog.records
