"""Evaluations of several clips in a padded batch: each module's losses, codes and scores are those of one by one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from torch import Tensor

from callbacks import ChannelEvaluation, CodebookUsage, ErrorSpread, LevelResponse, PriorReport
from callbacks.channel.evaluation_callback import single_clips
from callbacks.metrics import SISDR, STOI
from codec import FSQ, CodecModule, ComparisonModule, ConvNeXtBackbone, NeuralCodec, SpectralEncoder, VocosDecoder
from codec.errors import InvalidValue
from codec.training.comparison_module import System
from codec.training.losses import MultiScaleMelLoss
from data import FolderSource, SpeechDataModule
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.concealing import concealment_module
from tests.support.speech import speech_like, write_speech
from tests.support.unequal import padded_batch

SECONDS = (0.9, 0.51, 0.013, 1.2, 0.7)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return FolderSource(str(write_speech(tmp_path / "c", SECONDS, speakers=["ann", "bob"])))


def codec_at(rate: int, output_rate: int) -> NeuralCodec:
    torch.manual_seed(rate)
    decoder = VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), 160 * output_rate // rate)
    encoder = SpectralEncoder(16, 160, width=16, depth=1)
    return NeuralCodec(encoder, FSQ(16, (4,) * 4), decoder, sample_rate=rate).eval()


def module_of(kind: str) -> tuple[L.LightningModule, dict[str, Any]]:
    """A module, and the rates of its data."""
    if kind == "comparison":
        systems = [System(f"at {rate}", codec=codec_at(rate, rate)) for rate in (16_000, 24_000)]
        return ComparisonModule(systems, sample_rate=24_000), {"sample_rate": 24_000, "hop_length": 240}
    loss = MultiScaleMelLoss(24_000, (128, 512), mels=(10, 40))
    rates = {"sample_rate": 16_000, "output_sample_rate": 24_000, "hop_length": 160}
    return CodecModule(codec_at(16_000, 24_000), reconstruction_loss=loss), rates


class Seen(L.Callback):
    """The number of clips in each batch of an evaluation."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def on_validation_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, *_: Any) -> None:
        if not trainer.sanity_checking:
            self.sizes.append(len(batch["id"]))

    def on_test_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, *_: Any) -> None:
        self.sizes.append(len(batch["id"]))


def same(found: Any, wanted: Any) -> None:
    """Numbers to 1e-6, all else exactly."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        for name in wanted:
            same(found[name], wanted[name])
    elif isinstance(wanted, (list, tuple)):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            same(one, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6, nan_ok=True)
    else:
        assert found == wanted


def scoring(**options: Any) -> ChannelEvaluation:
    return ChannelEvaluation(
        bit_error_rates=(0.0, 0.1), metrics=[STOI(), SISDR()], num_workers=0, audio_clips=1, bootstrap=50, **options
    )


@pytest.mark.parametrize("kind", ["codec", "comparison"])
def test_scores_of_padded_batches_are_those_of_one_clip_at_a_time(
    tmp_path: Path, source: FolderSource, kind: str
) -> None:
    found: list[Any] = []
    for size in (1, 4):
        module, rates = module_of(kind)
        data = SpeechDataModule(test=source, num_workers=0, clips_per_batch=size, loudness=-23.0, **rates)
        evaluation, seen, levels = scoring(), Seen(), LevelResponse((0.0, -20.0), bootstrap=20)
        reports = [] if kind == "comparison" else [PriorReport(), ErrorSpread(2, reach=5)]
        runner = trainer(tmp_path / str(size), [evaluation, levels, seen, *reports])
        logged = runner.test(module, datamodule=data, verbose=False)
        assert seen.sizes == [[1] * 10, [4, 4, 2]][size == 4]
        (file,) = (tmp_path / str(size)).rglob("channel.json")
        document = json.loads(file.read_text())
        codes = {(score.codec, score.clip_id): score.codes.tolist() for score in evaluation.clip_scores}
        assert len(codes) == 10 * (1 + (kind == "comparison"))
        parts = [document["rows"], document["clips"], codes, logged, [row._asdict() for row in levels.results]]
        found.append([*parts, [report.results for report in reports]])
    same(found[1], found[0])


def test_validation_of_a_fit_logs_what_it_does_one_by_one(tmp_path: Path, source: FolderSource) -> None:
    found: list[Any] = []
    for size in (1, 4):
        module, rates = module_of("codec")
        options: dict[str, Any] = {"crop_seconds": 0.2, "batch_size": 2, "num_workers": 0, "clips_per_batch": size}
        evaluation, seen = scoring(fit_clips=3), Seen()
        runner = trainer(tmp_path / str(size), [evaluation, CodebookUsage(), seen], max_steps=2, val_check_interval=2)
        runner.fit(module.train(), datamodule=SpeechDataModule(source, source, **options, **rates))
        assert seen.sizes == [[1] * 10, [4, 4, 2]][size == 4]
        values = {name: float(value) for name, value in runner.callback_metrics.items()}
        assert {"val/mel", "channel/stoi/ber_0.1", "codebook/val/usage_0"} <= set(values)
        found.append([values, [score.clip_id for score in evaluation.clip_scores]])
    assert len(found[0][1]) == 3
    same(found[1], found[0])


def test_concealment_is_validated_on_the_frames_of_each_clip(tmp_path: Path, source: FolderSource) -> None:
    module, found = concealment_module(tmp_path), []
    for size in (1, 4):
        data = SpeechDataModule(val=source, num_workers=0, clips_per_batch=size, hop_length=module.codec.hop_length)
        found.append(trainer(tmp_path, [scoring()]).validate(module, datamodule=data, verbose=False))
        assert found[-1][0]["val/latent"] > 0
    same(found[1], found[0])


def test_concealment_hears_nothing_beyond_the_clips_ends(tmp_path: Path) -> None:
    module, lengths = concealment_module(tmp_path), [4000, 9601, 1500]
    audio = padded_batch(lengths)  # with loud noise beyond
    found = module.validation_step({"audio": audio, "id": ["a", "b", "c"], "lengths": lengths}, 0)
    for row, (length, frames) in enumerate(zip(lengths, found["frames"], strict=True)):
        alone = module.validation_step({"audio": audio[row : row + 1, :, :length], "id": ["a"]}, 0)["codes"]
        assert torch.equal(found["codes"][row : row + 1, :, :frames], alone)


def test_a_clip_of_a_padded_batch_is_a_batch_of_its_own() -> None:
    audio = torch.arange(8.0).view(2, 1, 4)
    batch = {
        "audio": audio, "lengths": [4, 2], "target": audio.repeat(1, 1, 2), "target_lengths": [8, 3],
        "id": ["a", "b"], "gain_db": torch.tensor([1.0, 2.0]),
    }  # fmt: skip
    codes = torch.tensor([[[1, 2]], [[3, 0]]])
    outputs = {"codes": {"x": codes, "y": codes}, "frames": {"x": [2, 1], "y": [1, 2]}, "audio": batch["target"]}
    _, (second, found) = single_clips(batch, outputs)
    assert isinstance(found, dict)
    assert second.keys() == {"audio", "target", "id", "gain_db"} and found.keys() == {"codes", "audio"}
    assert second["audio"].tolist() == [[[4.0, 5.0]]] and second["target"].shape == found["audio"].shape == (1, 1, 3)
    assert second["id"] == ["b"] and second["gain_db"].tolist() == [2.0]
    assert {name: value.tolist() for name, value in found["codes"].items()} == {"x": [[[3]]], "y": [[[3, 0]]]}
    assert second["audio"].untyped_storage().nbytes() == 2 * 4  # a clip that is kept keeps no batch


def padded() -> dict[str, Any]:
    waves = [torch.from_numpy(speech_like(seed, seconds)) for seed, seconds in ((0, 0.8), (1, 0.5))]
    audio: Tensor = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True)[:, None]
    return {"audio": audio, "id": ["a", "b"], "lengths": [len(wave) for wave in waves]}


def test_codes_without_frames_are_refused(tmp_path: Path) -> None:
    """The step of another module, which knows nothing of lengths."""
    with pytest.raises(InvalidValue, match=r"2 clips come without their `frames`: set data.clips_per_batch to 1"):
        trainer(tmp_path, [scoring()]).test(CountingModule(tiny_codec()), loader([padded()]), verbose=False)


def test_several_clips_without_lengths_are_refused(tmp_path: Path) -> None:
    batch = clip("a", speech_like(0, 0.5)) | {"id": ["a", "b"]}
    batch["audio"] = batch["audio"].repeat(2, 1, 1)
    with pytest.raises(InvalidValue, match="use batch size 1 for validation and test"):
        trainer(tmp_path, [scoring()]).test(CountingModule(tiny_codec()), loader([batch]), verbose=False)
