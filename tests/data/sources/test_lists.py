"""Lists as the field writes them: by name and first line, with their columns, folders and compressed forms."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data import DataError, ManifestSource

Write = Callable[..., Path]
Found = list[tuple[str, float | None, str | None, float | None]]


def found(path: Path, **options: str) -> Found:
    """(id, seconds, speaker, start) of each clip; each file is there."""
    clips = ManifestSource(str(path), **options).clips()
    assert all(Path(clip.path).is_file() for clip in clips)
    return [clip[1:5] for clip in clips]


def put(path: Path, text: str, *audio: str) -> Path:
    """Write a list, and empty files below its folder."""
    for name in audio:
        (path.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (path.parent / name).touch()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize("path", ["audio_filepath", "file_name", "wav", "audio_path", "filepath", "fname", "File Name"])
@pytest.mark.parametrize("speaker", ["speaker_id", "client_id", "spk"])
def test_names_of_columns(tmp_path: Path, path: str, speaker: str) -> None:
    rows = [{path: "a.wav", "duration": 2.5, speaker: 17, "text": 'one, "two" | three'}, {path: "b.wav"}]
    wanted = [("a.wav", 2.5, "17", None), ("b.wav", None, None, None)]
    lines = "\n".join(map(json.dumps, rows))
    for suffix in (".jsonl", ".json", ".jsonl.gz"):
        assert found(put(tmp_path / f"list{suffix}", lines, "a.wav", "b.wav")) == wanted
    quoted = f'text,{path},duration,{speaker}\n"one, ""two""\n| three","a.wav",2.5,17\n,b.wav,,\n'
    for suffix in (".csv", ".txt", ".csv.gz"):
        assert found(put(tmp_path / f"list{suffix}", quoted)) == wanted
    for separator, suffix in (("\t", ".tsv"), ("\t", ".csv"), ("|", ".csv"), (";", ".csv"), ("\t", ".tsv.gz")):
        table = f"{path}^duration^{speaker}^text\na.wav^2.5^17^so\nb.wav^^^\n".replace("^", separator)
        assert found(put(tmp_path / f"list{suffix}", table)) == wanted


@pytest.mark.parametrize("indent", [None, 2])
def test_one_json_document(tmp_path: Path, indent: int | None) -> None:
    rows = [{"wav": "a.wav", "length": 2.5, "spk_id": "ann"}, {"wav": "b.wav", "offset": 1, "duration": 0.5}]
    wanted = [("a.wav", None, "ann", None), ("b_1.000-1.500.wav", 0.5, None, 1.0)]
    assert found(put(tmp_path / "list.json", json.dumps(rows, indent=indent), "a.wav", "b.wav")) == wanted
    named = dict(zip(("utt1", "utt2"), rows, strict=True))
    assert found(put(tmp_path / "named.json", json.dumps(named, indent=indent))) == wanted
    with pytest.raises(DataError, match=r"line 1 is .*, not an object"):
        found(put(tmp_path / "list.json", "[3]"))


def test_split_and_milliseconds(tmp_path: Path) -> None:
    text = "clip\tduration[ms]\tsubset\na.mp3\t1500\ttrain\nb.mp3\t0\ttest\n"
    path = put(tmp_path / "durations.tsv", text, "a.mp3", "b.mp3")
    assert found(path, split="train") == [("a.mp3", 1.5, None, None)]
    assert found(path, split="test") == [("b.mp3", None, None, None)]


def test_common_voice(tmp_path: Path) -> None:
    header = "client_id\tpath\tsentence_id\tsentence\tup_votes\n"
    row = 'c0ffee\tcommon_voice_en_1.mp3\t9\tHe said "no.\t2\n'
    path = put(tmp_path / "en/train.tsv", header + row, "clips/common_voice_en_1.mp3")
    assert found(path) == [("clips/common_voice_en_1.mp3", None, "c0ffee", None)]


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_ljspeech(tmp_path: Path, suffix: str) -> None:
    text = 'LJ001-0001|He "said, 5|five\nLJ001-0002|so|so\n'
    path = put(tmp_path / "metadata.csv", text, f"wavs/LJ001-0001.{suffix}", f"wavs/LJ001-0002.{suffix}")
    assert [row[0] for row in found(path)] == [f"wavs/LJ001-000{number}.{suffix}" for number in (1, 2)]


def test_lists_of_paths(tmp_path: Path) -> None:
    lines = "# mine\nsub/c.flac\n\na b.wav\n"
    for name in ("list.txt", "list.lst", "list.scp", "list.txt.gz", "list"):
        path = put(tmp_path / name, lines, "a b.wav", "sub/c.flac")
        assert [row[0] for row in found(path)] == ["sub/c.flac", "a b.wav"]
    absolute = put(tmp_path / "abs.txt", f"{tmp_path}/sub/c.flac\r\n")
    assert [row[0] for row in found(absolute)] == ["sub/c.flac"]
    vits = put(tmp_path / "filelist.txt", "sub/c.flac|text\na b.wav|text, more\n")
    assert [row[0] for row in found(vits)] == ["sub/c.flac", "a b.wav"]
    fairseq = put(tmp_path / "train.tsv", f"{tmp_path}/sub\nc.flac\t16000\n")
    assert [row[0] for row in found(fairseq)] == ["sub/c.flac"]


def test_audio_as_hugging_face_writes_it(tmp_path: Path) -> None:
    path = put(tmp_path / "metadata.jsonl", '{"audio": {"path": "a.wav", "bytes": null}, "text": "x"}', "a.wav")
    assert found(path) == [("a.wav", None, None, None)]


def test_kaldi_folder(write: Write, tmp_path: Path) -> None:
    path = put(
        tmp_path / "data/wav.scp", "rec1 audio/one.wav\nrec2\taudio/t w o.wav\n", "audio/one.wav", "audio/t w o.wav"
    )
    put(tmp_path / "data/utt2spk", "rec1 ann\nrec2 bo\n")
    put(tmp_path / "data/utt2dur", "rec1 2.5\nrec2 x\n")
    assert found(path) == [("rec1", 2.5, "ann", None), ("rec2", None, "bo", None)]
    put(tmp_path / "data/segments", "ann-1 rec1 0.0 1.5\nann-2 rec1 1.5 -1\nbo-1 rec2 0 -1\nbo-2 rec2 1.25 2\n")
    put(tmp_path / "data/utt2spk", "ann-1 ann\nann-2 ann\nbo-2 bo\n")  # bo-1 is missing
    assert found(path, name="k") == [
        *[("k/ann-1", 1.5, "ann", 0.0), ("k/ann-2", None, "ann", 1.5)],
        *[("k/bo-1", None, None, None), ("k/bo-2", 0.75, "bo", 1.25)],
    ]


@pytest.mark.parametrize(
    ("scp", "segments", "message"),
    [
        ("a sph2pipe -f wav a.sph |\n", None, r"wav.scp, line 1 is a command with a pipe \(sph2pipe"),
        ("a a.wav\nb b.ark:1234\n", None, "wav.scp, line 2 is a place in a Kaldi archive"),
        ("a\n", None, "wav.scp, line 1 is 'a', not `recording path`"),
        ("a a.wav\n", "u a 0 1\nu2 c 0 1\n", "segments, line 2 names the recording 'c', which wav.scp lacks"),
        ("a a.wav\n", "u a 0\n", "segments, line 1 is 'u a 0', not `utterance recording start end`"),
        ("a a.wav\n", "u a 0 nan\n", "segments, line 1 is 'u a 0 nan'"),
        ("a a.wav\n", "u a 2 1\n", "segments, line 1 is a segment from 2 s to 1 s"),
        ("a a.wav\n", "u a -2 1\n", "segments, line 1 is a segment from -2 s to 1 s"),
    ],
)
def test_kaldi_mistakes(tmp_path: Path, scp: str, segments: str | None, message: str) -> None:
    path = put(tmp_path / "wav.scp", scp, "a.wav")
    if segments:
        put(tmp_path / "segments", segments)
    with pytest.raises(DataError, match=message):
        ManifestSource(str(path)).clips()


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("l.csv", b"sound,seconds\na.wav,1\n", "line 1 has no column path or audio .* separated by commas"),
        ("l.csv", b'path,text\na.wav,"open\n' + b"x" * 200_000, "line .* is no row of a table"),
        ("l.tsv", b"path\na.wav\n\xff\n", "is not UTF-8 text at byte 1 of line 3"),
        ("l.jsonl.gz", gzip.compress(b'{"path": "a.wav"}' * 99, mtime=0)[:-9], "is not a whole gzip file"),
        ("l.jsonl.gz", b"plain", "is not a whole gzip file"),
        (
            "l.tsv",
            b"path\tseconds\tsample_rate\tspeaker\tshard\toffset\tsize\tsha256\n",
            "use|give .* data.ShardSource",
        ),
    ],
)
def test_mistakes(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        ManifestSource(str(tmp_path / name)).clips()
