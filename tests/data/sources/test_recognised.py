"""What `data.prepare` finds at a path: lists, data sets and folders."""

from collections.abc import Callable
from pathlib import Path

import pytest

from data import DataError, FolderSource, HuggingFaceSource, ManifestSource, SpeechDataModule
from data.sources.recognised import named_source, source_at
from tests.data.sources.test_lists import put

Write = Callable[..., Path]


def ids(path: Path, split: str | None = None) -> list[str]:
    return [clip.id for clip in source_at(path, split).clips()]


def test_folders_with_lists(tmp_path: Path) -> None:
    put(tmp_path / "kaldi/wav.scp", "utt a.wav\n", "a.wav", "b.wav")
    assert ids(tmp_path / "kaldi") == ["utt"]
    put(tmp_path / "lj/metadata.csv", "x|text\n", "wavs/x.wav", "wavs/y.wav")
    assert ids(tmp_path / "lj") == ["wavs/x.wav"]
    put(tmp_path / "hf/metadata.jsonl", '{"file_name": "a.wav"}', "a.wav", "b.wav")
    assert ids(tmp_path / "hf") == ["a.wav"] and isinstance(source_at(tmp_path / "hf/metadata.jsonl"), ManifestSource)
    put(tmp_path / "plain/metadata.csv", "speaker,age\n1,2\n", "a.wav")
    put(tmp_path / "plain/manifest.tsv", "path\n", "a.wav")
    assert ids(tmp_path / "plain") == ["a.wav"] and isinstance(source_at(tmp_path / "plain"), FolderSource)


def test_splits_that_are_files(tmp_path: Path) -> None:
    for split in ("train", "test"):
        put(tmp_path / f"cv/{split}.tsv", f"client_id\tpath\nx\t{split}.mp3\n", f"clips/{split}.mp3")
        put(tmp_path / f"hf/{split}/metadata.csv", f"file_name\n{split}.wav\n", f"{split}.wav")
        put(tmp_path / f"kaldi/{split}/wav.scp", f"{split} {split}.wav\n", f"{split}.wav")
    assert ids(tmp_path / "cv", "test") == ["clips/test.mp3"]
    assert ids(tmp_path / "hf", "train") == ["train.wav"]
    assert ids(tmp_path / "kaldi", "train") == ["train"]
    with pytest.raises(DataError, match=r"--split dev needs a manifest or a data set"):
        source_at(tmp_path / "cv", "dev")
    assert ManifestSource(str(tmp_path / "cv"), "train").clips()[0].speaker == "x"
    with pytest.raises(DataError, match=r"has no wav.scp, metadata.csv or metadata.jsonl: give a list"):
        ManifestSource(str(tmp_path / "cv")).clips()


def test_one_audio_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "a.WAV").touch()
    with pytest.raises(DataError, match=r"a\.WAV is audio, not a list: give its folder"):
        source_at(tmp_path / "a.WAV")
    assert [clip.id for clip in named_source(str(tmp_path / "a.WAV")).clips()] == ["a.WAV"]  # but can be predicted
    put(tmp_path / "kaldi/wav.scp", "x x.wav\n", "x.wav")
    assert isinstance(named_source(str(tmp_path / "kaldi")), ManifestSource)


def test_a_text_is_no_source() -> None:
    with pytest.raises(DataError, match=r"'rec' must be a data\.AudioSource: data\.FolderSource\('rec'\)"):
        SpeechDataModule("rec", "rec")  # type: ignore[arg-type]


def test_data_sets(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from tests.data.sources.test_huggingface import save, table, to_parquet

    assert len(ids(save(tmp_path / "saved", table()))) == 7
    file = to_parquet(tmp_path / "pq/data/train-00000-of-00001.parquet", table())
    assert ids(tmp_path / "pq", "train") == ids(file) and isinstance(source_at(file), HuggingFaceSource)
    mixed = put(tmp_path / "mixed/a.txt", "", "a.wav").parent
    to_parquet(mixed / "features.parquet", table().select(["speaker_id"]))
    assert ids(mixed) == ["a.wav"]


def test_predict_from_a_list(write: Write, tmp_path: Path) -> None:
    write("talk.wav", 2.0)
    rows = '{"path": "talk.wav", "offset": 0.5, "duration": 1}\n{"path": "talk.wav", "offset": 1.5}'
    module = SpeechDataModule(predict_from=str(put(tmp_path / "list.jsonl", rows)), num_workers=0)
    module.setup("predict")
    found = {batch["id"][0]: batch["audio"].shape[-1] for batch in module.predict_dataloader()}
    assert found == {"talk_0.500-1.500.wav": 16000, "talk_1.500-end.wav": 8000}
