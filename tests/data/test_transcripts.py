"""Transcripts in the batches of evaluations, and from a corpus through `data.prepare` to its shards."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from data import DataError, FolderSource, ManifestSource, ShardSource, SpeechDataModule
from data.prepare import pack
from data.prepare.recipes.recipe import FLAC, Recipe
from data.shards.features import FeatureShards

Write = Callable[..., Path]
SAID = {"a.wav": "one", "b.wav": "", "c.flac": 'Über "5"\xa0%'}


@pytest.fixture
def corpus(write: Write, tmp_path: Path) -> ManifestSource:
    for seconds, name in enumerate(SAID, start=1):
        write(f"corpus/{name}", float(seconds))
    rows = "".join(f"{name}\t{text}\n" for name, text in SAID.items())
    (tmp_path / "corpus/list.tsv").write_text(f"path\ttext\n{rows}")
    return ManifestSource(str(tmp_path / "corpus/list.tsv"))


def batch_texts(source: Any, stage: str, **options: Any) -> list[str]:
    module = SpeechDataModule(source, source, test=source, predict_from=source, num_workers=0, **options)
    module.setup(stage)
    loader = {"test": module.test_dataloader, "predict": module.predict_dataloader}.get(stage, module.val_dataloader)()
    return [batch["text"] for batch in loader]


@pytest.mark.parametrize("stage", ["fit", "validate", "test", "predict"])
def test_batches_of_evaluations_have_texts(corpus: ManifestSource, stage: str) -> None:
    assert batch_texts(corpus, stage) == [["one"], [""], ['Über "5"\xa0%']]


def test_training_has_none(corpus: ManifestSource, monkeypatch: pytest.MonkeyPatch) -> None:
    module = SpeechDataModule(corpus, corpus, crop_seconds=0.2, num_workers=0)
    module.setup("fit")
    assert [clip.text for clip in module._datasets["train"]._speech.clips] == [None] * 3  # type: ignore[attr-defined]
    assert set(next(iter(module.train_dataloader()))) == {"audio"}


@pytest.mark.parametrize(
    ("stage", "options"),
    [("fit", {"val_seconds": 2.5}), ("validate", {"max_clip_seconds": 2.5}), ("test", {"max_clip_seconds": 2.5})],
)
def test_texts_of_clips_that_are_cut_are_dropped(
    corpus: ManifestSource, stage: str, options: dict, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert batch_texts(corpus, stage, **options) == [["one"], [""], [""]]
    told = [record.message for record in caplog.records if "transcript" in record.message]
    role = "test" if stage == "test" else "val"
    assert told == [
        f"{role}: the transcripts of 1 clips that are cut to 2.5 s are left out, as they are of more than is heard"
    ]


def test_no_notice_where_no_text_is_lost(corpus: ManifestSource, caplog: pytest.LogCaptureFixture) -> None:
    bare = FolderSource(str(corpus.path.parent))
    for source, seconds in ((corpus, 3.0), (bare, 1.5)):
        batch_texts(source, "validate", max_clip_seconds=seconds)
    assert not [record for record in caplog.records if "transcript" in record.message]


def shard_texts(root: str) -> dict[str, str | None]:
    return {clip.id: clip.text for clip in ShardSource(root).clips()}


def test_shards_carry_texts(corpus: ManifestSource, tmp_path: Path) -> None:
    out, wanted = tmp_path / "out", {name: text or None for name, text in SAID.items()}
    wanted["c.flac"] = 'Über "5" %'
    assert pack(corpus, out, shard_bytes=100_000).shards > 1
    assert (out / "texts.tsv").read_text() == 'path\ttext\na.wav\tone\nc.flac\tÜber "5" %\n'
    assert shard_texts(str(out)) == wanted
    assert all(clip.text is None for clip in ShardSource(str(out)).clips_without_text())
    assert batch_texts(ShardSource(str(out)), "test") == [["one"], [""], ['Über "5" %']]
    pack(ShardSource(str(out)), tmp_path / "again")
    assert shard_texts(str(tmp_path / "again")) == wanted
    storage = fsspec.filesystem("memory")
    for path in out.iterdir():
        storage.pipe(f"/texts/{path.name}", path.read_bytes())
    assert shard_texts("memory://texts") == wanted
    storage.rm("/texts", recursive=True)


def test_shards_are_those_without_texts(corpus: ManifestSource, tmp_path: Path) -> None:
    pack(corpus, tmp_path / "with")
    pack(ManifestSource(str(corpus.path), text="text"), tmp_path / "named")
    corpus.path.write_text("path\n" + "".join(f"{name}\n" for name in SAID))
    pack(corpus, tmp_path / "without")
    files = {path.name: path.read_bytes() for path in (tmp_path / "with").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "named").iterdir()}
    assert files.pop("texts.tsv") and files == {f.name: f.read_bytes() for f in (tmp_path / "without").iterdir()}
    pack(corpus, tmp_path / "with")  # once more, from the list that has no texts any more
    assert not (tmp_path / "with/texts.tsv").exists()


def test_pieces_of_a_clip_have_no_text(corpus: ManifestSource, tmp_path: Path) -> None:
    pack(corpus, tmp_path / "out", recipe=Recipe(FLAC, segment_seconds=2.0))
    found = shard_texts(str(tmp_path / "out"))
    assert len(found) > 3 and {id: text for id, text in found.items() if text} == {"a.flac": "one"}


def test_texts_of_another_corpus_are_refused(corpus: ManifestSource, tmp_path: Path) -> None:
    pack(corpus, tmp_path / "out")
    (tmp_path / "out/texts.tsv").write_text("path\ttext\nc.flac\tx\na.wav\tone\n")
    source = ShardSource(str(tmp_path / "out"))
    with pytest.raises(DataError, match=r"texts\.tsv has a text for 'a\.wav', which is not the manifest's next clip"):
        source.clips()
    assert len(source.clips_without_text()) == 3


def test_feature_shards_read_no_texts(corpus: ManifestSource, tmp_path: Path) -> None:
    pack(corpus, tmp_path / "out")
    (tmp_path / "out/texts.tsv").write_text("path\ttext\nelsewhere.wav\tx\n")
    with pytest.raises(DataError, match="holds no features"):
        FeatureShards(str(tmp_path / "out"))
