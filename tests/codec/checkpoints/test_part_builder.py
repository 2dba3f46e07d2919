"""Configurations out of files build parts of codecs and run nothing else."""

import copy
import json
import sys

import pytest
import torch

from codec import CodecModule, MelEncoder, NeuralCodec, SpectralEncoder, TransformersCodec, load_codec, save_codec
from codec.checkpoints.building import build_codec, build_empty
from codec.checkpoints.reading import read_checkpoint
from codec.checkpoints.safetensors import write_safetensors
from codec.errors import InvalidValue, UnreadableFile
from tests.codec.checkpoints.test_checkpoint import CONFIG


class Fetching(TransformersCodec):
    """A class of the user's own on top of one that reads files."""


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
        "a codec that fetches, by its old path": {
            "class_path": "codec.transformers_codec.TransformersCodec",
            "init_args": {"source": other},
        },
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
    match = r"do not fit the codec that the file states"
    with pytest.raises(UnreadableFile, match=f"{match}.*reads files or a hub" if "fetches" in kind else match):
        load_codec(path)
    assert not trace.exists() and "planted" not in sys.modules


@pytest.mark.parametrize("path", [
    "codec.TransformersCodec", "codec.hub.transformers_codec.TransformersCodec",
    "codec.transformers_codec.TransformersCodec", f"{__name__}.Fetching",
])  # fmt: skip
def test_a_part_that_reads_files_is_refused_under_each_of_its_names(monkeypatch, path):
    """By its class: where its module is, or is moved to, does not matter."""
    monkeypatch.setattr(NeuralCodec, "__init__", lambda *_, **__: pytest.fail("it was built"))
    monkeypatch.setattr(TransformersCodec, "__init__", lambda *_, **__: pytest.fail("it was built"))
    with pytest.raises(InvalidValue, match="reads files or a hub, which the configuration inside a file must not"):
        build_codec({"class_path": path, "init_args": {"source": "somewhere"}})


@pytest.mark.parametrize(("path", "found"), [
    ("codec.student_encoders.MelEncoder", MelEncoder),
    ("codec.encoders.SpectralEncoder", SpectralEncoder),  # the module is a package today
    ("codec.nowhere.at_all.SpectralEncoder", SpectralEncoder),
])  # fmt: skip
def test_a_path_of_before_a_move_means_the_public_class_of_its_name(path, found):
    config = copy.deepcopy(CONFIG)
    config["init_args"]["encoder"] = {"class_path": path, "init_args": {"dim": 8, "width": 8, "depth": 1}}
    assert type(build_codec(config).encoder) is found


@pytest.mark.parametrize("path", ["elsewhere.MelEncoder", "codec.gone.load_codec", "codec.gone.Secret", "MelEncoder"])
def test_other_paths_that_name_nothing_are_refused(path):
    config = copy.deepcopy(CONFIG)
    config["init_args"]["encoder"] = {"class_path": path, "init_args": {}}
    with pytest.raises(InvalidValue, match="is no part of a codec that is imported here"):
        build_codec(config)


class NumberReader(SpectralEncoder):
    """An encoder that looks at its own weights when it is built."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, width=8, depth=1)
        self.scale = 1.0 + next(self.parameters()).sum().item()


def test_a_part_that_reads_its_own_numbers_is_built_with_memory():
    config = copy.deepcopy(CONFIG)
    config["init_args"]["encoder"] = {"class_path": f"{__name__}.NumberReader", "init_args": {"dim": 8}}
    codec = build_empty(lambda: build_codec(config))
    assert isinstance(codec.encoder.scale, float)
    assert not next(codec.decoder.parameters()).is_meta
    assert next(build_empty(lambda: build_codec(CONFIG)).parameters()).is_meta


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


def test_a_valid_file_loads(tmp_path):
    write_safetensors(tmp_path / "good.safetensors", WEIGHTS, codec_config=CONFIG)
    codec = load_codec(tmp_path / "good.safetensors")
    stated = read_checkpoint(tmp_path / "good.safetensors")["state_dict"]
    assert all(torch.equal(value, stated[f"codec.{name}"]) for name, value in codec.state_dict().items())


def test_a_part_that_a_script_or_notebook_defined_is_one_sentence_elsewhere(tmp_path, monkeypatch):
    """In another process __main__ is another script: advice to import it would lead nowhere."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "moved_parts.py").write_text(
        "from codec import SpectralEncoder\nclass Scripted(SpectralEncoder): pass\n"
    )
    main, codec = sys.modules["__main__"], build_codec(CONFIG)
    monkeypatch.setattr(
        main, "Scripted", type("Scripted", (SpectralEncoder,), {"__module__": "__main__"}), raising=False
    )
    codec.encoder = main.Scripted(dim=8, hop_length=320, width=8, depth=1)
    save_codec(codec, tmp_path / "a.safetensors")
    assert isinstance(load_codec(tmp_path / "a.safetensors").encoder, main.Scripted)
    assert isinstance(CodecModule.load_from_checkpoint(tmp_path / "a.safetensors").codec.encoder, main.Scripted)
    monkeypatch.delattr(main, "Scripted")
    for load in (load_codec, CodecModule.load_from_checkpoint):
        with pytest.raises(UnreadableFile) as refused:
            load(tmp_path / "a.safetensors")
        assert "__main__.Scripted" in refused.value.allowed and "define Scripted in this script" in refused.value.remedy
        assert "give another file" not in refused.value.remedy
    monkeypatch.setenv("CODEC_PARTS", "moved_parts")
    assert type(load_codec(tmp_path / "a.safetensors").encoder).__module__ == "moved_parts"
