"""Data sets of Hugging Face: Arrow files of `save_to_disk` and Parquet files, read in place."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data import DataError, HuggingFaceSource, SpeechDataModule
from data.audio import parquet as parquet_rows
from data.audio.members import member_size, open_member
from data.audio.reading import read_whole

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

SECONDS = [0.5 + number / 10 for number in range(7)]
AUDIO = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])


def encoded(number: int, kind: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    noise = 0.1 * np.random.default_rng(number).standard_normal(round(16000 * SECONDS[number]))
    soundfile.write(buffer, noise, 16000, format=kind)
    return buffer.getvalue()


FILES = [encoded(number, ("WAV", "FLAC")[number % 2]) for number in range(7)]


def table(**columns: list) -> Any:
    """Seven clips in a table with these columns, whose audio has no paths unless they say so."""
    audio = [{"bytes": data, "path": None} for data in FILES]
    columns = {"audio": pyarrow.array(columns.pop("audio", audio), AUDIO), "speaker_id": [3, 4] * 3 + [3], **columns}
    return pyarrow.table(columns)


def save(folder: Path, content: Any, *, split: str | None = None, files: int = 2) -> Path:
    """Write a table as `save_to_disk` does."""
    folder.mkdir(parents=True)
    names = [f"data-{number:05}-of-{files:05}.arrow" for number in range(files)]
    for number, name in enumerate(names):
        part = content.slice(number * 4, 4) if files > 1 else content
        with pyarrow.ipc.new_stream(str(folder / name), content.schema) as stream:
            stream.write_table(part, max_chunksize=3)
    state = {"_data_files": [{"filename": name} for name in names], "_split": split}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def to_parquet(file: Path, content: Any, **options: Any) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(content, str(file), **{"row_group_size": 3, **options})
    return file


def contents(source: HuggingFaceSource) -> Iterator[bytes]:
    for clip in source.clips():
        member = open_member(clip.path)
        assert member is not None
        yield member.read(member.size)


@pytest.fixture(params=["arrow", "parquet", "parquet in steps"])
def saved(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    content = table(id=[f"u{number}" for number in range(7)], duration=SECONDS)
    if request.param == "arrow":
        return save(tmp_path / "set", content)
    if request.param == "parquet in steps":
        monkeypatch.setattr(parquet_rows, "GROUP_BYTES", 1)
        monkeypatch.setattr(parquet_rows, "STEP_ROWS", 2)
    to_parquet(tmp_path / "set/data/train-00000-of-00002.parquet", content.slice(0, 4))
    return to_parquet(tmp_path / "set/data/train-00001-of-00002-0a1b.parquet", content.slice(4)).parents[1]


def test_each_row_is_a_clip_with_its_bytes(saved: Path) -> None:
    source = HuggingFaceSource(str(saved))
    clips, prefix = source.clips(), "train/" if (saved / "data").is_dir() else ""
    assert [(clip.id, clip.seconds) for clip in clips] == [(f"{prefix}u{n}", SECONDS[n]) for n in range(7)]
    assert [clip.speaker for clip in clips] == ["3", "4", "3", "4", "3", "4", "3"]
    assert list(contents(source)) == FILES
    backwards = [open_member(clip.path) for clip in reversed(clips)]
    assert [member.read(member.size) for member in backwards if member] == FILES[::-1]
    for clip, data in zip(clips, FILES, strict=True):
        samples = soundfile.read(io.BytesIO(data), dtype="float32")[0]
        assert torch.equal(read_whole(clip.path, (16000,))[0][0], torch.from_numpy(samples))
        assert 0 < (member_size(clip.path) or 0) < 100_000


def test_batches_of_workers(saved: Path) -> None:
    source = HuggingFaceSource(str(saved))
    found = []
    for workers in (0, 2):
        module = SpeechDataModule(source, test=source, crop_seconds=0.2, batch_size=4, num_workers=workers)
        module.setup("fit")
        stream = iter(module.train_dataloader())
        found.append(torch.cat([next(stream)["audio"] for _ in range(3)]))
        module.setup("test")
        assert [len(batch["audio"][0, 0]) for batch in module.test_dataloader()] == [round(16000 * s) for s in SECONDS]
    assert torch.equal(*found)


def test_splits_of_save_to_disk(tmp_path: Path) -> None:
    for split in ("train", "test"):
        save(tmp_path / split, table(), split=split, files=1)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    ids = [clip.id for clip in HuggingFaceSource(str(tmp_path), name="mine").clips()]
    assert ids[:2] == ["mine/train/00000000", "mine/train/00000001"] and ids[7] == "mine/test/00000000"
    assert [clip.id for clip in HuggingFaceSource(str(tmp_path), "test").clips()] == [id[5:] for id in ids[7:]]
    with pytest.raises(DataError, match="has no split 'dev': choose from test, train"):
        HuggingFaceSource(str(tmp_path), "dev").clips()
    assert len(HuggingFaceSource(str(tmp_path / "train"), "train").clips()) == 7


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"], ["test", "train"]),
        (["default/train/0000.parquet", "default/validation/0000.parquet"], ["train", "validation"]),
        (["en/train-00000-of-00001.parquet", "de/train-00000-of-00001.parquet"], ["de/train", "en/train"]),
        (["train.parquet", "x/validation.parquet", ".cache/test.parquet"], ["train", "x/validation"]),
        (["one.parquet"], [""]),
    ],
)
def test_splits_by_the_names_of_files(tmp_path: Path, names: list[str], expected: list[str]) -> None:
    for name in names:
        to_parquet(tmp_path / name, table())
    ids = [clip.id for clip in HuggingFaceSource(str(tmp_path)).clips()]
    assert sorted({id.rpartition("/")[0] for id in ids}) == expected and len(set(ids)) == len(ids)
    split = expected[0].rpartition("/")[2]
    if split:
        assert len(HuggingFaceSource(str(tmp_path), split).clips()) in (7, 14)


def test_names_of_files_are_ids_where_they_differ(tmp_path: Path) -> None:
    audio = [{"bytes": data, "path": f"/far/x/y/z/{number}.wav"} for number, data in enumerate(FILES)]
    ids = [clip.id for clip in HuggingFaceSource(str(to_parquet(tmp_path / "a.parquet", table(audio=audio)))).clips()]
    assert ids == [f"y/z/{number}.wav" for number in range(7)]
    audio = [{"bytes": data, "path": "audio.wav"} for data in FILES]
    ids = [clip.id for clip in HuggingFaceSource(str(to_parquet(tmp_path / "b.parquet", table(audio=audio)))).clips()]
    assert ids[0] == "00000000"


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_audio_in_files_beside_and_rows_without_audio(tmp_path: Path, form: str) -> None:
    (tmp_path / "set").mkdir(parents=True)
    audio = [{"bytes": None, "path": f"{number}.wav"} for number in range(6)] + [{"bytes": None, "path": None}]
    for number, data in enumerate(FILES):
        (tmp_path / f"set/{number}.wav").write_bytes(data)
    if form == "arrow":
        (tmp_path / "set").rename(tmp_path / "moved")
        save(tmp_path / "set", table(audio=audio), files=1)
        for number in range(7):
            (tmp_path / f"moved/{number}.wav").rename(tmp_path / f"set/{number}.wav")
    else:
        to_parquet(tmp_path / "set/all.parquet", table(audio=audio))
    clips = HuggingFaceSource(str(tmp_path / "set")).clips()
    assert [Path(clip.path).read_bytes() for clip in clips[:6]] == FILES[:6] and len(clips) == 7
    module = SpeechDataModule(test=HuggingFaceSource(str(tmp_path / "set")), num_workers=0)
    module.setup("test")
    assert len(list(module.test_dataloader())) == 6 and module.bad_file_count() == 1


def test_bytes_without_a_struct_and_names_of_labels(tmp_path: Path) -> None:
    content = pyarrow.table({"wav": FILES, "speaker": [0, 1] * 3 + [1], "split": ["a"] * 3 + ["b"] * 4})
    features = {"speaker": {"names": ["ann", "bo"], "_type": "ClassLabel"}}
    content = content.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    source = HuggingFaceSource(str(to_parquet(tmp_path / "x.parquet", content)), "b")
    assert [clip.speaker for clip in source.clips()] == ["bo", "ann", "bo", "bo"]
    assert list(contents(source)) == FILES[3:]
    save(tmp_path / "x", content, files=1)
    assert list(contents(HuggingFaceSource(str(tmp_path / "x")))) == FILES


def test_a_column_is_chosen(tmp_path: Path) -> None:
    clean = pyarrow.array([{"bytes": data, "path": None} for data in FILES[::-1]], AUDIO)
    file = to_parquet(
        tmp_path / "x.parquet", table().rename_columns(["noisy", "speaker"]).append_column("clean", clean)
    )
    with pytest.raises(DataError, match="has audio in noisy, clean: name one as `column`"):
        HuggingFaceSource(str(file)).clips()
    assert list(contents(HuggingFaceSource(str(file), column="clean"))) == FILES[::-1]
    with pytest.raises(DataError, match="has no audio among its columns noisy, speaker, clean"):
        HuggingFaceSource(str(file), column="speaker").clips()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.parquet", b"PAR1 not", "cannot be read"),
        ("x.arrow", b"\xff\xff\xff\xff\x10\x00", "cannot be read"),
        ("x.wav", b"RIFF", "is no .arrow or .parquet file"),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        HuggingFaceSource(str(tmp_path / name)).clips()


def test_mistakes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no data set"):
        HuggingFaceSource(str(tmp_path)).clips()
    with pytest.raises(DataError, match="does not exist"):
        HuggingFaceSource(str(tmp_path / "no")).clips()
    save(tmp_path / "x", table(), files=1)
    (tmp_path / "x/state.json").write_text("[")
    with pytest.raises(DataError, match=r"state\.json is no JSON object"):
        HuggingFaceSource(str(tmp_path / "x")).clips()


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_a_file_that_is_lost_is_counted_once(tmp_path: Path, form: str) -> None:
    folder = save(tmp_path / "set", table(), files=1) if form == "arrow" else tmp_path / "set"
    file = folder / "data-00000-of-00001.arrow" if form == "arrow" else to_parquet(folder / "x.parquet", table())
    source = HuggingFaceSource(str(folder))
    listed = source.clips()
    file.unlink()
    module = SpeechDataModule(test=source, num_workers=0)
    module.sources["test"][0].clips = lambda: listed  # type: ignore[method-assign]
    with pytest.raises(DataError, match="none of the 7 clips for test can be read"):
        module.setup("test")
    assert list(module.bad_file_reasons()) == [str(file)]


def test_what_datasets_writes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"audio": {"bytes": data, "path": f"{n}.wav"}, "id": f"u{n}"} for n, data in enumerate(FILES)]
    written = datasets.Dataset.from_list(rows).cast_column("audio", datasets.Audio(sampling_rate=16000))
    datasets.DatasetDict({"train": written, "test": written.select([5, 2])}).save_to_disk(str(tmp_path / "saved"))
    written.to_parquet(str(tmp_path / "pq/train-00000-of-00001.parquet"), batch_size=2)
    assert list(contents(HuggingFaceSource(str(tmp_path / "saved")))) == [*FILES, FILES[5], FILES[2]]
    source = HuggingFaceSource(str(tmp_path / "pq"), "train")
    assert list(contents(source)) == FILES and source.clips()[6].id == "train/u6"
