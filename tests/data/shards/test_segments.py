"""Packed segments and rows of data sets: the audio, ids and lengths of the corpus that was packed."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
import torch

from data import ManifestSource, ShardSource, SpeechDataModule
from data.audio.reading import read_whole
from data.prepare import main
from data.shards.names import tar_name
from tests.data.test_datamodule import batches

Write = Callable[..., Path]


@pytest.fixture
def listed(write: Write, tmp_path: Path) -> Path:
    """Segments of files of several kinds, and a whole file."""
    lines = ["path\toffset\tduration\tid"]
    for number, name in enumerate(("a.wav", "b.flac", "c.ogg", "d.mp3")):
        write(f"in/{name}", 3.0, rate=(16000, 24000)[number % 2], channels=1 + number % 2)
        lines += [f"{name}\t0.5\t1.25\t", f"{name}\t1.0\t\tann-{number}"]
    lines += ["a.wav\t0\t3.0\t"]
    (tmp_path / "in/list.tsv").write_text("\n".join(lines))
    return tmp_path / "in/list.tsv"


def test_packed_segments_are_those_of_the_list(listed: Path, tmp_path: Path) -> None:
    assert main([str(listed), str(tmp_path / "out"), "--shard-size", "100K"]) == 0
    loose, packed = ManifestSource(str(listed)), ShardSource(str(tmp_path / "out"))
    assert [clip.id for clip in packed.clips()] == [clip.id for clip in loose.clips()]
    for clip, segment in zip(packed.clips(), loose.clips(), strict=True):
        assert clip.seconds == (segment.seconds or 2.0) and clip.start is None
        for rate in (16000, 24000):
            whole = read_whole(segment.path, (rate,), segment=segment.segment)[0]
            assert torch.equal(read_whole(clip.path, (rate,))[0], whole)
            assert whole.shape[1] == round(clip.seconds * rate)
    options = {"crop_seconds": 0.2, "batch_size": 4, "num_workers": 0, "seed": 3}
    ours, theirs = (batches(SpeechDataModule(source, **options), 4) for source in (packed, loose))
    assert all(torch.equal(a["audio"], b["audio"]) for a, b in zip(ours, theirs, strict=True))


def test_names_in_the_tar_file_say_what_the_bytes_are(listed: Path, tmp_path: Path) -> None:
    assert main([str(listed), str(tmp_path / "out")]) == 0
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        names = tar.getnames()
        for name in names:
            file = tar.extractfile(name)
            assert file is not None and soundfile.info(file).format == Path(name).suffix[1:].upper()
    assert names[:4] == ["a_0.500-1.750.flac", "ann-0.flac", "b_0.500-1.750.flac", "ann-1.flac"]
    assert names[-1] == "a.wav"


def test_encoded_segments(listed: Path, tmp_path: Path) -> None:
    assert main([str(listed), str(tmp_path / "out"), "--format", "flac", "--sample-rate", "16000"]) == 0
    clips = ShardSource(str(tmp_path / "out")).clips()
    assert [clip.id for clip in clips[:3]] == ["a_0.500-1.750.flac", "ann-0.flac", "b_0.500-1.750.flac"]
    assert [clip.seconds for clip in clips[:2]] == [1.25, 2.0]


def test_ids_with_points_stay_apart(write: Write, tmp_path: Path) -> None:
    write("in/a.wav", 2.0)
    rows = "".join(f"u.{n} a {n / 2} {n / 2 + 0.5}\n" for n in range(3))
    (tmp_path / "in/wav.scp").write_text("a a.wav\n")
    (tmp_path / "in/segments").write_text(rows)
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), "--format", "flac"]) == 0
    assert [clip.id for clip in ShardSource(str(tmp_path / "out")).clips()] == ["u.0.flac", "u.1.flac", "u.2.flac"]


def test_rows_of_a_data_set_are_packed(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    from tests.data.sources.test_huggingface import FILES, contents, table, to_parquet

    to_parquet(tmp_path / "set/train-00000-of-00001.parquet", table(id=[f"u.{number}" for number in range(7)]))
    assert main([str(tmp_path / "set"), str(tmp_path / "out"), "--split", "train", "--shard-size", "40K"]) == 0
    packed = ShardSource(str(tmp_path / "out"))
    assert [clip.id for clip in packed.clips()] == [f"train/u.{number}" for number in range(7)]
    assert list(contents(packed)) == FILES
    with tarfile.open(tmp_path / "out/shard-00000.tar") as tar:
        assert tar.getnames() == ["train/u.0.wav", "train/u.1.flac"]


@pytest.mark.parametrize(
    ("name", "data", "recoded", "expected"),
    [
        ("a.wav", b"fLaC", False, "a.wav"),
        ("a.wav", b"fLaC", True, "a.flac"),
        ("a.mp3", b"RIFF....WAVE", True, "a.wav"),
        ("utt-1.5", b"OggS" + bytes(24) + b"OpusHead", False, "utt-1.5.opus"),
        ("utt", b"?", False, "utt"),
        ("x/a.WAV", b"?", True, "x/a.WAV"),
    ],
)
def test_tar_names(name: str, data: bytes, recoded: bool, expected: str) -> None:
    assert tar_name(name, data, recoded=recoded) == expected
