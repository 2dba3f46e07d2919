"""Weights in pieces: the same after a round trip, bounded files, and what is missing is said in one sentence."""

import json

import pytest
import torch
from safetensors.torch import load_file

from codec import Adversary, CodecModule, InvalidValue, UnreadableFile, load_codec
from codec.checkpoints.pieces import HEADER, INDEX, read_pieces, write_pieces
from codec.hub.__main__ import main
from codec.hub.packing import pack_pieces, to_half
from tests.codec.hub.test_packing import PARTS
from tests.support.building import build
from tests.support.training import VoiceData, discriminators, mel_loss, quiet_trainer

CONFIG = {"class_path": "codec.NeuralCodec", "init_args": PARTS}
LIMIT = HEADER + 4000


@pytest.fixture
def weights():
    torch.manual_seed(0)
    return {f"codec.{name}": torch.randn(size) for name, size in (("a", 500), ("b", 400), ("c", 700), ("d", 1))}


def trained():
    torch.manual_seed(0)
    module = build({"class_path": "codec.CodecModule", "init_args": {"codec": CONFIG}}, CodecModule)
    return CodecModule(module.codec, Adversary(discriminators()), reconstruction_loss=mel_loss())


@pytest.fixture
def run(tmp_path):
    """A run's checkpoint with discriminators and optimizer states."""
    module = trained()
    module.config = {"class_path": "codec.CodecModule", "init_args": {"codec": CONFIG}}
    trainer = quiet_trainer(max_steps=2)
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt"


def test_a_round_trip_keeps_every_weight_in_files_of_bounded_size(tmp_path, weights):
    paths = write_pieces(tmp_path / "out", weights, codec_config=CONFIG, batch=70, limit=LIMIT)
    assert [path.name for path in paths] == [*(f"model-0000{n}-of-00002.safetensors" for n in (1, 2)), INDEX]
    assert [sorted(load_file(path)) for path in paths[:-1]] == [["codec.a", "codec.b"], ["codec.c", "codec.d"]]
    assert all(path.stat().st_size <= LIMIT for path in paths)
    found = read_pieces(tmp_path / "out")
    assert (found["global_step"], found["codec_config"]) == (70, CONFIG)
    torch.testing.assert_close(found["state_dict"], weights, rtol=0, atol=0)


def test_pieces_of_before_are_replaced(tmp_path, weights):
    write_pieces(tmp_path, weights, codec_config=CONFIG, limit=LIMIT)
    write_pieces(tmp_path, {"codec.a": weights["codec.a"]}, codec_config=CONFIG, limit=LIMIT)
    assert {path.name for path in tmp_path.iterdir()} == {"model-00001-of-00001.safetensors", INDEX}


def test_files_of_others_are_neither_replaced_nor_removed(tmp_path, weights):
    (tmp_path / "model-notes.safetensors").write_text("precious")
    write_pieces(tmp_path, weights, codec_config=CONFIG, limit=LIMIT)
    assert (tmp_path / "model-notes.safetensors").read_text() == "precious"
    theirs = {"metadata": {"total_size": 8}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    for index in (json.dumps(theirs), "unreadable"):
        (tmp_path / INDEX).write_text(index)
        with pytest.raises(InvalidValue, match="holds other weights"):
            write_pieces(tmp_path, weights, codec_config=CONFIG, limit=LIMIT)
    (tmp_path / INDEX).unlink()
    with pytest.raises(InvalidValue, match=r"holds model-00001-of-00002\.safetensors, which no index there names"):
        write_pieces(tmp_path, weights, codec_config=CONFIG, limit=LIMIT)
    assert len(list(tmp_path.glob("model-*"))) == 3


def test_an_attempt_that_fails_leaves_the_pieces_of_before(tmp_path, weights, monkeypatch):
    write_pieces(tmp_path, weights, codec_config=CONFIG, batch=7, limit=LIMIT)
    monkeypatch.setattr("codec.checkpoints.pieces.write_safetensors", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_pieces(tmp_path, weights, codec_config=CONFIG, limit=LIMIT)
    assert read_pieces(tmp_path)["global_step"] == 7


def test_pieces_of_full_precision_are_refused(tmp_path, run, capsys):
    with pytest.raises(SystemExit):
        main(["pack", "--pieces", "--full", str(run), str(tmp_path / "out")])
    assert "leave --full out" in capsys.readouterr().err


def test_a_weight_larger_than_a_file_is_refused_before_anything_is_written(tmp_path, weights):
    with pytest.raises(InvalidValue, match=r"codec\.c"):
        write_pieces(tmp_path / "out", weights, codec_config=CONFIG, limit=HEADER + 2500)
    assert not (tmp_path / "out").exists()


def missing_piece(folder):
    (folder / "model-00001-of-00002.safetensors").unlink()


def missing_index(folder):
    (folder / INDEX).unlink()


def damaged_index(folder):
    (folder / INDEX).write_text("{}")


def foreign_path(folder):
    content = json.loads((folder / INDEX).read_text())
    content["weight_map"]["codec.a"] = "../secret.safetensors"
    (folder / INDEX).write_text(json.dumps(content))


def endless_batch(folder):
    (folder / INDEX).write_text((folder / INDEX).read_text().replace('"batch": 0', '"batch": Infinity'))


def nameless_piece(folder):
    content = json.loads((folder / INDEX).read_text())
    content["weight_map"]["codec.a"] = ""
    (folder / INDEX).write_text(json.dumps(content))


def other_piece(folder):
    (folder / "model-00001-of-00002.safetensors").write_bytes(
        (folder / "model-00002-of-00002.safetensors").read_bytes()
    )


def damaged_piece(folder):
    (folder / "model-00001-of-00002.safetensors").write_bytes(b"not much")


@pytest.mark.parametrize(("fault", "words"), [
    (missing_piece, "lacks model-00001-of-00002.safetensors"), (missing_index, f"has no {INDEX}"),
    (damaged_index, "is no index of pieces"), (foreign_path, "is no index of pieces"),
    (endless_batch, "is no index of pieces"), (nameless_piece, "is no index of pieces"),
    (other_piece, "has pieces without codec.a"), (damaged_piece, "is damaged or not a safetensors file"),
])  # fmt: skip
def test_what_is_missing_or_damaged_is_one_sentence(tmp_path, weights, fault, words):
    write_pieces(tmp_path, weights, codec_config=CONFIG, limit=LIMIT)
    fault(tmp_path)
    with pytest.raises(UnreadableFile, match=words) as error:
        read_pieces(tmp_path)
    assert "\n" not in str(error.value)


def test_a_run_in_pieces_loads_as_a_codec_and_starts_another_run(tmp_path, run, capsys):
    main(["pack", "--pieces", str(run), str(tmp_path / "pieces")])
    assert "init_from" in capsys.readouterr().out
    kept = torch.load(run, weights_only=True)["state_dict"]
    expected = {name: to_half(name.removeprefix("codec."), value).to(value.dtype) for name, value in kept.items()}
    codec = load_codec(tmp_path / "pieces")
    torch.testing.assert_close(
        codec.state_dict(), {n.removeprefix("codec."): v for n, v in expected.items() if n.startswith("codec.")},
        rtol=0, atol=0,
    )  # fmt: skip
    other = CodecModule(
        trained().codec, Adversary(discriminators()), reconstruction_loss=mel_loss(), init_from=str(tmp_path / "pieces")
    )
    torch.testing.assert_close(dict(other.state_dict()), expected, rtol=0, atol=0)
    assert any(name.startswith("discriminators.") for name in expected)
    assert read_pieces(tmp_path / "pieces")["global_step"] == 2


def test_batches_of_earlier_runs_are_counted_where_given(tmp_path, run):
    size = pack_pieces(run, tmp_path / "pieces", batch=902)
    assert read_pieces(tmp_path / "pieces")["global_step"] == 902
    assert size == sum(path.stat().st_size for path in (tmp_path / "pieces").iterdir())


def test_a_file_in_place_of_the_folder_is_refused(tmp_path, run):
    with pytest.raises(InvalidValue, match="must be a folder"):
        pack_pieces(run, run)
