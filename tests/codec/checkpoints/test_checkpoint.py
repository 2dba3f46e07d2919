"""Loading codecs: damaged, foreign and unsafe files each give one clear sentence."""

import pickle

import pytest
import torch

from codec.checkpoints.building import build_codec
from codec.checkpoints.reading import PRETRAINED, load_codec, resolve_checkpoint
from codec.checkpoints.safetensors import write_safetensors

CONFIG = {
    "class_path": "codec.NeuralCodec",
    "init_args": {
        "encoder": {"class_path": "codec.SpectralEncoder", "init_args": {"dim": 8, "width": 8, "depth": 1}},
        "quantizer": {"class_path": "codec.FSQ", "init_args": {"dim": 8, "levels": [4, 4]}},
        "decoder": {
            "class_path": "codec.VocosDecoder",
            "init_args": {"backbone": {"class_path": "codec.ConvNeXtBackbone", "init_args": {"dim": 8, "width": 8}}},
        },
    },
}


class Attack:
    def __reduce__(self):
        return (print, ("code ran",))


def saved(path, **content):
    torch.save(content, path)
    return path


def test_a_saved_codec_comes_back_with_its_weights(tmp_path):
    codec = build_codec(CONFIG)
    weights = {f"codec.{k}": v for k, v in codec.state_dict().items()}
    path = saved(tmp_path / "a.ckpt", state_dict=weights, model_config={"init_args": {"codec": CONFIG}})
    loaded = load_codec(path)
    assert not loaded.training
    audio = torch.randn(1, 1, 1000)
    assert torch.equal(loaded(audio).audio, codec.eval()(audio).audio)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"There is no checkpoint .*nothing\.ckpt"):
        load_codec(tmp_path / "nothing.ckpt")


def test_a_truncated_file_is_named(tmp_path):
    path = saved(tmp_path / "a.ckpt", state_dict={"codec.x": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match=r"a\.ckpt is damaged"):
        load_codec(path)


@pytest.mark.parametrize("writer", [pickle.dump, lambda o, f: torch.save(o, f)])
def test_code_in_a_file_does_not_run(tmp_path, capsys, writer):
    with (tmp_path / "a.ckpt").open("wb") as file:
        writer({"state_dict": Attack()}, file)
    with pytest.raises(ValueError, match="holds more than weights"):
        load_codec(tmp_path / "a.ckpt")
    assert "code ran" not in capsys.readouterr().out


def test_other_files_of_tensors_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no state_dict"):
        load_codec(saved(tmp_path / "a.ckpt", weights=torch.zeros(1)))
    with pytest.raises(ValueError, match="holds no model_config"):
        load_codec(saved(tmp_path / "b.ckpt", state_dict={}))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    """A safetensors file has no checksum: flipped bits show here alone."""
    weights = {f"codec.{k}": v.clone() for k, v in build_codec(CONFIG).state_dict().items()}
    weights["codec.decoder.head.bias"][3] = value
    write_safetensors(tmp_path / "a.safetensors", weights, codec_config=CONFIG)
    match = rf"a\.safetensors holds NaN or infinite numbers, in decoder\.head\.bias and 0 more of its {len(weights)} "
    with pytest.raises(ValueError, match=match):
        load_codec(tmp_path / "a.safetensors")


def test_a_safetensors_file_of_another_name_is_told_to_change_it(tmp_path):
    weights = {f"codec.{k}": v for k, v in build_codec(CONFIG).state_dict().items()}
    write_safetensors(tmp_path / "a.ckpt", weights, codec_config=CONFIG)
    with pytest.raises(ValueError, match=r"a\.ckpt is a safetensors file: give it a name that ends in \.safe"):
        load_codec(tmp_path / "a.ckpt")


def test_a_folder_does_not_hide_a_pretrained_codec_but_a_file_does(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small_fsq").mkdir()
    assert resolve_checkpoint("small_fsq") == PRETRAINED / "small_fsq.safetensors"
    (tmp_path / "small_fsq").rmdir()
    (tmp_path / "small_fsq").touch()
    assert resolve_checkpoint("small_fsq").resolve() == tmp_path / "small_fsq"
