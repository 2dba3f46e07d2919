"""Two pieces of training on a CPU in seconds: weights, batches and schedules go on; mistakes are one sentence."""

import json

import pytest

from codec import load_codec
from codec.checkpoints.pieces import LIMIT, read_pieces
from tests.gpu import train_piece
from tests.support.command_line import CODEC
from tests.support.speech import write_speech

NARROW = [
    f"{CODEC}.encoder.init_args.width", "16", f"{CODEC}.encoder.init_args.depth", "1",
    f"{CODEC}.decoder.init_args.backbone.init_args.width", "16",
    f"{CODEC}.decoder.init_args.backbone.init_args.depth", "1",
    "--model.init_args.compiled", "false", "--model.init_args.adversary.crop", "3200",
    "--trainer.accelerator", "cpu", "--trainer.precision", "32-true", "--trainer.enable_model_summary", "false",
    "--data.batch_size", "2", "--data.num_workers", "0", "--data.pin_memory", "false", "--data.crop_seconds", "0.4",
    "--channels.num_workers", "0", "--preflight.enabled", "false",
]  # fmt: skip


def options(tmp_path, name, *words):
    given = ["train", str(tmp_path / "shards"), "--dev", str(tmp_path / "speech" / "manifest.tsv")]
    return [*given, "--out", str(tmp_path / name), "--minutes", "0.05", *words, "--", *NARROW]


@pytest.fixture
def shards(tmp_path):
    write_speech(tmp_path / "speech", (1.25, 1.3, 1.35, 1.4, 1.45))
    manifest = str(tmp_path / "speech" / "manifest.tsv")
    assert train_piece.main(["pack", manifest, str(tmp_path / "shards"), "--part", "1", "--of", "2"]) == 0
    return tmp_path / "shards"


def test_a_part_is_every_nth_clip(shards, capsys):
    rows = (shards / "manifest.tsv").read_text().splitlines()[1:]
    assert [row.split("\t")[0] for row in rows] == ["0.wav", "2.wav", "4.wav"]
    assert len(list(shards.glob("*.tar"))) == 1


def test_a_part_beyond_the_last_is_refused(tmp_path, shards, capsys):
    words = ["pack", str(tmp_path / "speech" / "manifest.tsv"), str(tmp_path / "more"), "--part", "3", "--of", "2"]
    assert train_piece.main(words) == 2
    assert "--part 3 must lie between 1 and --of 2" in capsys.readouterr().err


def test_a_training_without_a_batch_is_one_sentence(monkeypatch, tmp_path, shards, capsys):
    monkeypatch.setattr(train_piece, "call", lambda *_: 0.0)
    assert train_piece.main(options(tmp_path, "next")) == 2
    assert "--minutes 0.05 is too short for one batch: give more." in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_refused_before_the_training(monkeypatch, tmp_path, shards, capsys):
    monkeypatch.setattr(train_piece, "call", lambda *_: pytest.fail("trained"))
    (tmp_path / "next").touch()
    assert train_piece.main(options(tmp_path, "next")) == 2
    assert "must be a folder that can be written" in capsys.readouterr().err


@pytest.mark.parametrize("minutes", ["nan", "-1", "0", "inf"])
def test_minutes_that_there_cannot_be_are_refused(tmp_path, minutes, capsys):
    with pytest.raises(SystemExit) as stop:
        train_piece.main(["train", str(tmp_path), "--dev", "x", "--out", "y", "--minutes", minutes])
    assert stop.value.code == 2
    assert f"{minutes} must be a number above 0" in capsys.readouterr().err


def test_missing_pieces_are_refused_before_the_training(tmp_path, shards, capsys):
    assert train_piece.main(options(tmp_path, "next", "--from", str(tmp_path / "nowhere"))) == 2
    assert "has no model.safetensors.index.json" in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_piece_goes_on_from_the_first(monkeypatch, tmp_path, shards):
    seen = []
    plain = train_piece.call
    monkeypatch.setattr(
        train_piece, "call", lambda command, words: seen.append([command, *words]) or plain(command, words)
    )
    monkeypatch.chdir(tmp_path)
    assert train_piece.main(options(tmp_path, "first")) == 0
    assert train_piece.main(options(tmp_path, "second", "--from", str(tmp_path / "first"))) == 0
    first, second = (json.loads((tmp_path / name / "piece.json").read_text()) for name in ("first", "second"))
    assert first["batch"] == first["batches"] > 0
    assert second["batch"] == first["batch"] + second["batches"] == read_pieces(tmp_path / "second")["global_step"]
    assert set(second["scores"]) == {f"{m} at {c}" for m in ("pesq_wb", "stoi") for c in ("bsc-0", "bsc-0.1")}
    assert all(path.stat().st_size <= LIMIT for path in (tmp_path / "second").iterdir())
    fit = next(words for words in seen[2:] if words[0] == "fit")
    for schedule in train_piece.SCHEDULES:
        assert fit[fit.index(f"{schedule}.start") + 1] == str(first["batch"])
    before, after = (load_codec(tmp_path / name).state_dict() for name in ("first", "second"))
    gap = sum(float((before[n].float() - after[n].float()).norm()) for n in before)
    size = sum(float(before[n].float().norm()) for n in before)
    assert 0 < gap < 0.5 * size
