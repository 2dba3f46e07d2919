"""The pretrained codecs: small, weights alone, as their cards say, and found by name."""

import hashlib
import re

import pytest
import torch
from safetensors.torch import load_file

from codec import LearnedConcealment, Link
from codec.checkpoints.reading import PRETRAINED, load_codec, pretrained, read_checkpoint, resolve_checkpoint
from tests.support.training import voice

NAMES = ["small_fsq", "small_fsq_aware", "small_rvq", "small_rvq_aware", "small_student", "small_student_aware"]


def test_all_of_them_are_there_and_stay_small():
    assert pretrained() == NAMES
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 42e6


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_is_found_by_its_name_from_anywhere(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    codec = load_codec(name)
    assert (codec.bit_rate, codec.sample_rate, codec.bits_per_frame) == (800.0, 16_000, 16)
    audio = voice(1, size=1, samples=16_100)
    with torch.no_grad():
        codes = codec.encode(audio)
        decoded = codec.decode(codes, length=16_100)
    assert decoded.shape == audio.shape
    # Trained: the level of the speech is there (of an untrained codec it is off by an order of magnitude or more).
    assert 0.3 < decoded.std() / audio.std() < 2
    assert codes.unique().numel() > 10


@pytest.mark.parametrize("name", NAMES)
def test_a_card_belongs_to_its_file(name):
    card = (PRETRAINED / f"{name}.md").read_text()
    file = PRETRAINED / f"{name}.safetensors"
    assert f"`{hashlib.sha256(file.read_bytes()).hexdigest()}`" in card
    for word in ("Data", "Licence", "Attribution", "Steps", "Scores", "train.py fit", "LibriSpeech", "CC BY 4.0"):
        assert word in card, word
    weights = load_file(file)
    assert re.search(rf"{sum(v.numel() for v in weights.values()):,} numbers", card)


@pytest.mark.parametrize(("name", "lookahead"), [("small_fsq", 0), ("small_fsq_2_ahead", 2)])
def test_predictors_are_found_by_name_fit_their_codec_and_have_a_card(name, lookahead, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    concealment = LearnedConcealment(name)
    for codec in ("small_fsq", "small_student"):  # the student has the quantizer of its teacher
        assert Link(concealment=concealment).connect(load_codec(codec).quantizer).delay_frames == lookahead
    for codec in ("small_fsq_aware", "small_rvq"):
        with pytest.raises(ValueError, match="another quantizer"):
            Link(concealment=concealment).connect(load_codec(codec).quantizer)
    numbers = sum(weight.numel() for weight in concealment.predictor.parameters())
    card = (PRETRAINED / "small_fsq.concealment.md").read_text()
    assert f"`{hashlib.sha256((PRETRAINED / f'{name}.concealment.pt').read_bytes()).hexdigest()}`" in card
    assert numbers <= 1e6 and f"{numbers:,} numbers" in card
    for word in ("Data", "Licence", "Attribution", "Steps", "train.py fit", "LibriSpeech", "CC BY 4.0"):
        assert word in card, word


@pytest.mark.parametrize("name", NAMES)
def test_only_the_quantizer_is_in_full_precision(name):
    for key, value in load_file(PRETRAINED / f"{name}.safetensors").items():
        assert key.startswith("codec.")
        if value.is_floating_point() and not key.startswith("codec.quantizer."):
            assert value.dtype == torch.float16, key
            assert value.isfinite().all(), key


def test_the_student_has_the_teacher_s_quantizer_and_decoder():
    teacher, student = (load_file(PRETRAINED / f"{name}.safetensors") for name in ("small_fsq", "small_student"))
    shared = [key for key in teacher if key.startswith(("codec.quantizer.", "codec.decoder."))]
    assert shared
    assert all(torch.equal(teacher[key], student[key]) for key in shared)


def test_a_file_of_that_name_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "small_fsq").write_bytes(b"no checkpoint")
    assert str(resolve_checkpoint("small_fsq")) == "small_fsq"
    assert resolve_checkpoint("runs/small_fsq").parent.name == "runs"


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"There is no checkpoint small_fqs: .*small_fsq, .*small_student"):
        read_checkpoint("small_fqs")
