"""The demo corpus is the same every time, appears only when complete, and is split by voice."""

import csv
import hashlib
from pathlib import Path

import pytest
import soundfile

from data import DataError
from data.sampling import seeded_generator
from data.sources.demo.corpus import SENTENCES, VOICES, DemoSource, _sentences, _voices, make_demo_corpus
from data.sources.demo.texts import HELD_OUT, TEXTS


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_voices_variants_and_sentences_of_splits_are_disjoint() -> None:
    voices = {split: _voices(split, count, seed=0) for split, count in VOICES.items()}
    for split, count in VOICES.items():
        assert len({voice.name for voice in voices[split]}) == count
    variants = [{voice.variant for voice in voices[split]} for split in VOICES]
    assert not any(a & b for a, b in ((variants[0], variants[1]), (variants[0], variants[2]), variants[1:]))
    for language in TEXTS:
        said = [set(_said(split, language)) for split in VOICES]
        assert not said[0] & said[1] and not said[0] & said[2] and not said[1] & said[2]


def _said(split: str, language: str) -> list[str]:
    return [text for seed in range(30) for text in _sentences(split, language, seeded_generator(seed))]


def test_texts_suffice() -> None:
    for language, texts in TEXTS.items():
        kind = "en" if language.startswith("en") else "other"
        assert len(set(texts)) == len(texts)
        assert len(texts) - HELD_OUT[kind] >= SENTENCES["train"][kind]
        assert HELD_OUT[kind] // 2 >= max(SENTENCES["val"][kind], SENTENCES["test"][kind])


def test_corpus_is_reproducible_and_atomic(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / ".making-killed").mkdir()  # what a killed process leaves behind
    first = make_demo_corpus(str(tmp_path / "one"), voices=1)
    again = make_demo_corpus(str(tmp_path / "two"), voices=1)
    assert digests(first) == digests(again)
    made = (first / "manifest.tsv").stat().st_mtime_ns
    assert make_demo_corpus(str(tmp_path / "one"), voices=1) == first
    assert (first / "manifest.tsv").stat().st_mtime_ns == made
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == [".making-killed", first.name]
    with open(first / "manifest.tsv", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert {row["split"] for row in rows} == {"train", "val", "test"}
    for row in rows:
        info = soundfile.info(first / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16")
        assert 2.5 <= info.duration <= 6.0 and float(row["duration"]) == pytest.approx(info.duration, abs=1e-3)


def test_another_seed_is_another_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.sources.demo.corpus.require_espeak", lambda: None)
    monkeypatch.setattr("data.sources.demo.corpus._make", lambda folder, *_: (folder / "manifest.tsv").touch())
    names = {make_demo_corpus(str(tmp_path), seed).name for seed in (0, 1)}
    assert len(names) == 2
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert make_demo_corpus().parent == tmp_path / "cache/neural-speech-codec/demo"


def test_the_slower_of_two_processes_takes_the_corpus_of_the_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make(folder: Path, *_: object) -> None:
        (folder / "manifest.tsv").write_text("slow" if nested else "fast")
        if not nested:
            nested.append(True)
            faster = make_demo_corpus(str(tmp_path))
            (faster / "manifest.tsv").write_text("fast")

    nested: list[bool] = []
    monkeypatch.setattr("data.sources.demo.corpus.require_espeak", lambda: None)
    monkeypatch.setattr("data.sources.demo.corpus._make", make)
    folder = make_demo_corpus(str(tmp_path))
    assert (folder / "manifest.tsv").read_text() == "fast" and list(tmp_path.iterdir()) == [folder]


def test_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path, *_: object) -> None:
        (folder / "half.flac").touch()
        raise RuntimeError("stopped")

    monkeypatch.setattr("data.sources.demo.corpus.require_espeak", lambda: None)
    monkeypatch.setattr("data.sources.demo.corpus._make", fail)
    with pytest.raises(RuntimeError, match="stopped"):
        make_demo_corpus(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_missing_wheel_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "espeakng_loader", None)
    with pytest.raises(DataError, match=r"pip install '\.\[demo\]'"):
        make_demo_corpus(str(tmp_path))


def test_unknown_split() -> None:
    with pytest.raises(DataError, match="split dev must be one of train, val, test"):
        DemoSource("dev")


def test_a_cache_folder_that_cannot_be_made_is_named_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be made in .*file/.* \(Not a directory\): give .*XDG_CACHE_HOME"):
        make_demo_corpus(seed=17)
