"""Configurations out of files build parts of codecs and run nothing else."""

import copy
import json
import sys

import pytest
import torch

from codec import load_codec
from codec.checkpoints.building import build_codec
from codec.checkpoints.reading import read_checkpoint
from codec.checkpoints.safetensors import write_safetensors
from tests.codec.checkpoints.test_checkpoint import CONFIG

WEIGHTS = {f"codec.{name}": value for name, value in build_codec(CONFIG).state_dict().items()}


def call(command: str) -> dict:
    return {"class_path": "os.system", "init_args": {"command": command}}


def hostile(touch: str, other: str) -> dict[str, object]:
    """Blocks that would leave a trace, or build something else."""
    semantic = {"class_path": "codec.W2VBertEncoder", "init_args": {"layers": 1, "config": {"x": call(touch)}}}
    factory = {"class_path": "codec.checkpoints.reading.load_codec", "init_args": {"path": other}}
    return {
        "a function": call(touch),
        "a function inside": {"encoder": call(touch)},
        "a block in a dictionary": {"encoder": semantic},
        "a method": {"class_path": "codec.TransformersCodec.wrap", "init_args": {"model": call(touch)}},
        "a factory": factory,
        "a codec that fetches": {"class_path": "codec.TransformersCodec", "init_args": {"source": other}},
        "a file instead of a block": {"encoder": other},
        "a module of one's own": {"encoder": {"class_path": "planted.X", "init_args": {}}},
        "a file for all": other,
        "arguments that are none": {"class_path": "codec.NeuralCodec", "init_args": [1]},
    }


@pytest.mark.parametrize("kind", list(hostile("", "")))
@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_a_file_runs_no_code(tmp_path, monkeypatch, kind, suffix):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    trace, other = tmp_path / "trace", tmp_path / "other.yaml"
    (tmp_path / "planted.py").write_text(f"open({str(trace)!r}, 'w')")
    other.write_text(json.dumps(call(f"touch {trace}")))
    block = hostile(f"touch {trace}", str(other))[kind]
    config = block
    if isinstance(block, dict) and "class_path" not in block:
        config = copy.deepcopy(CONFIG)
        config["init_args"] |= block
    path = tmp_path / f"evil{suffix}"
    if suffix == ".ckpt":
        torch.save({"state_dict": WEIGHTS, "codec_config": config}, path)
    else:
        write_safetensors(path, WEIGHTS, codec_config=config)
    with pytest.raises(ValueError, match=r"do not fit the codec that the file states"):
        load_codec(path)
    assert not trace.exists() and "planted" not in sys.modules


def test_parts_of_ones_own_are_named_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "own_encoders.py").write_text("from codec import SpectralEncoder\nclass Mine(SpectralEncoder): pass\n")
    config = copy.deepcopy(CONFIG)
    config["init_args"]["encoder"]["class_path"] = "own_encoders.Mine"
    with pytest.raises(ValueError, match="name that in the environment variable CODEC_PARTS"):
        build_codec(config)
    monkeypatch.setenv("CODEC_PARTS", "own_encoders")
    assert type(build_codec(config).encoder).__name__ == "Mine"
    sys.modules.pop("own_encoders")


def test_a_whole_file_loads(tmp_path):
    write_safetensors(tmp_path / "good.safetensors", WEIGHTS, codec_config=CONFIG)
    codec = load_codec(tmp_path / "good.safetensors")
    stated = read_checkpoint(tmp_path / "good.safetensors")["state_dict"]
    assert all(torch.equal(value, stated[f"codec.{name}"]) for name, value in codec.state_dict().items())
