"""Predictions of a comparison: each codec once, at its own rates, as it alone would predict; names, links, log."""

from functools import wraps
from unittest.mock import Mock

import lightning as L
import numpy as np
import pytest
import soundfile
import torch
import yaml
from torch import Tensor

from codec import FSQ, ConvNeXtBackbone, GrayMap, Link, NeuralCodec, SpectralEncoder, VocosDecoder
from codec.training.comparison_module import ComparisonModule, System, resample
from tests.support.command_line import run


def codec_at(rate: int, output_rate: int, *, hop: int = 160) -> NeuralCodec:
    torch.manual_seed(rate + output_rate)
    decoder = VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), hop * output_rate // rate)
    encoder = SpectralEncoder(16, hop, width=16, depth=1)
    return NeuralCodec(encoder, FSQ(16, (4,) * 4), decoder, sample_rate=rate).eval()


def noise(length: int) -> Tensor:
    return torch.randn(1, 1, length, generator=torch.Generator().manual_seed(length)) * 0.1


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 2, 159, 161, 1001])
@pytest.mark.parametrize("rates", [(16_000, 16_000), (16_000, 24_000), (24_000, 24_000), (8_000, 16_000)])
def test_a_prediction_is_what_the_codec_alone_makes_of_the_resampled_clip(length, rates):
    codec, audio = codec_at(*rates), noise(length)
    found = ComparisonModule([System("a b", codec=codec)]).predict_step({"audio": audio, "id": ["x"]}, 0)
    assert found["id"] == ["x"]
    prediction = found["systems"]["a b"]
    heard = resample(audio, 16_000, rates[0])
    assert prediction["length"] == heard.shape[-1] == -(-length * rates[0] // 16_000)
    codes = codec.encode(heard)
    assert torch.equal(prediction["codes"], codes) and codes.shape[-1] == -(-prediction["length"] // 160)
    expected = codec.decode(codes, length=codec.output_length(prediction["length"]))
    assert prediction["audio"].shape == expected.shape
    torch.testing.assert_close(prediction["audio"], expected)


@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_no_audio_is_refused_as_a_codec_alone_does(rate):
    module = ComparisonModule([System("a", codec=codec_at(rate, rate))])
    with pytest.raises(ValueError, match=r"audio of shape \[1, 1, 0\] must be"):
        module.predict_step({"audio": torch.zeros(1, 1, 0), "id": ["x"]}, 0)


def test_systems_share_a_codec_by_its_file_or_object(tmp_path, monkeypatch):
    shared = codec_at(16_000, 16_000)
    (tmp_path / "a.ckpt").touch()
    (tmp_path / "last.ckpt").symlink_to("a.ckpt")
    read: list[str] = []
    monkeypatch.setattr(
        "codec.training.comparison_module.load_codec", lambda path: read.append(path) or codec_at(8_000, 8_000)
    )
    gray = Link(index_map=GrayMap())
    systems = [
        System("A", codec=shared),
        System("B", str(tmp_path / "a.ckpt")),
        System("A Gray", codec=shared, link=gray),
    ]
    module = ComparisonModule([*systems, System("B again", str(tmp_path / "last.ckpt"))])
    assert [[c.name for c in together] for together in module.sharing] == [["A", "A Gray"], ["B", "B again"]]
    assert len(read) == 1 and len(module.codecs) == 2
    encoded = []
    for codec in module.codecs:
        codec.encoder.register_forward_hook(lambda part, *_: encoded.append(part))
    batch = {"audio": noise(1001), "id": ["x"]}
    assert list(module.predict_step(batch, 0)["systems"]) == ["A", "B"]
    assert encoded == [codec.encoder for codec in module.codecs]
    codes = module.test_step(batch, 0)["codes"]
    assert len(encoded) == 4 and set(codes) == {"A", "B", "A Gray", "B again"}
    assert codes["A"] is codes["A Gray"] and codes["B"] is codes["B again"]


def test_resampling_keeps_float32_under_autocast():
    audio = noise(1000)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = resample(audio, 16_000, 24_000)
    assert torch.equal(found, resample(audio, 16_000, 24_000)) and found.dtype == torch.float32


SPLITS = ("train", "val", "test")


def block(output_rate: int) -> dict:
    """A small codec at 16 kHz, untrained, as in YAML."""
    backbone = {"class_path": "codec.ConvNeXtBackbone", "init_args": {"dim": 16, "width": 16, "depth": 1}}
    parts = {
        "encoder": {"class_path": "codec.SpectralEncoder", "init_args": {"dim": 16, "hop_length": 160, "width": 16}},
        "quantizer": {"class_path": "codec.FSQ", "init_args": {"dim": 16, "levels": [4, 4, 4, 4]}},
        "decoder": {
            "class_path": "codec.VocosDecoder",
            "init_args": {"backbone": backbone, "hop_length": output_rate // 100},
        },
    }
    return {"class_path": "codec.NeuralCodec", "init_args": {**parts, "sample_rate": 16_000}}


def command(monkeypatch, tmp_path, speech, systems, *words):
    config = {
        "seed_everything": 0,
        "model": {"class_path": "codec.ComparisonModule", "init_args": {"systems": systems}},
        "trainer": {"accelerator": "cpu", "logger": False, "enable_progress_bar": False},
        "data": {
            "predict_from": str(speech),
            "num_workers": 0,
            "pin_memory": False,
            **{split: {"class_path": "data.FolderSource", "init_args": {"root": str(speech)}} for split in SPLITS},
        },
        "channels": {"metrics": [{"class_path": "callbacks.SISDR"}], "num_workers": 0, "bit_error_rates": [0.0]},
        "predictions": {"output_dir": str(tmp_path / "out")},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    run(monkeypatch, *words, "--config", tmp_path / "config.yaml")


def predict(monkeypatch, tmp_path, speech, systems):
    command(monkeypatch, tmp_path, speech, systems, "predict")


@pytest.mark.parametrize("name", ["validate", "test"])
def test_the_command_scores_the_systems(monkeypatch, tmp_path, speech, name):
    monkeypatch.chdir(tmp_path)
    command(monkeypatch, tmp_path, speech, [{"name": "FSQ 16", "codec": block(16_000)}], name)
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("channel.csv")] == [
        "runs/run/version_0/channel.csv"  # without a logger
    ]


@pytest.mark.parametrize(("words", "sentence"), [
    (["fit"], "A ComparisonModule has nothing to train: use test, validate or predict."),
    (["test", "--ckpt_path", "CHECKPOINT"], "must be unset: name the checkpoints in the systems of the comparison."),
])  # fmt: skip
def test_a_comparison_neither_trains_nor_takes_a_checkpoint(monkeypatch, tmp_path, speech, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {}}, tmp_path / "a.ckpt")
    words = [str(tmp_path / "a.ckpt") if word == "CHECKPOINT" else word for word in words]
    with pytest.raises(SystemExit) as stop:
        command(monkeypatch, tmp_path, speech, [{"name": "FSQ 16", "codec": block(16_000)}], *words)
    assert stop.value.code == 2
    assert sentence in capsys.readouterr().err.rstrip().splitlines()[-1]


def test_the_command_codes_a_folder_with_each_codec_and_keeps_nothing_in_memory(monkeypatch, tmp_path, speech):
    called = Mock(side_effect=L.Trainer.predict)
    monkeypatch.setattr(L.Trainer, "predict", wraps(L.Trainer.predict)(lambda *a, **k: called(*a, **k)))
    predict(
        monkeypatch,
        tmp_path,
        speech,
        [{"name": "FSQ 16", "codec": block(16_000)}, {"name": "24", "codec": block(24_000)}],
    )
    assert called.call_args.kwargs["return_predictions"] is False
    for folder, rate in (("FSQ_16", 16_000), ("24", 24_000)):
        for source in speech.rglob("*.wav"):
            written = tmp_path / "out" / folder / source.relative_to(speech)
            length = len(soundfile.read(source)[0])
            audio, found = soundfile.read(written)
            with np.load(written.with_suffix(".codes.npz")) as file:
                archive = dict(file)
            assert (found, len(audio)) == (rate, -(-length * rate // 16_000))
            assert (int(archive["length"]), int(archive["output_length"])) == (length, len(audio))
            assert archive["codes"].shape == (1, -(-length // 160))
    assert len(list((tmp_path / "out").rglob("*.wav"))) == 2 * 6


def test_two_names_of_one_folder_end_the_command_at_its_start(monkeypatch, tmp_path, speech, capsys):
    with pytest.raises(SystemExit):
        predict(monkeypatch, tmp_path, speech, [{"name": n, "codec": block(16_000)} for n in ("a b", "a/b")])
    sentence = "systems 'a b' and 'a/b' would share the folder a_b: rename one of them."
    assert capsys.readouterr().err.rstrip().endswith(sentence)
    assert not (tmp_path / "out").exists()
