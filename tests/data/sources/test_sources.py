"""Folders, manifests and corpus layouts become clips; every mistake in them gets a sentence with its remedy."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data import DataError
from data.sources.base import spread_clips, unique_clips
from data.sources.corpora import LibriSpeechSource, LibriTTSSource, VCTKSource
from data.sources.folder import FolderSource
from data.sources.manifest import ManifestSource


def manifest(folder: Path, text: str, name: str = "list.tsv") -> str:
    (folder / "a.wav").touch()
    (folder / "b.wav").touch()
    (folder / name).write_text(text)
    return str(folder / name)


def test_folder_tree(tmp_path: Path) -> None:
    for name in ("x/b.FLAC", "x/a.wav", "c.opus", "notes.txt", "x/.hidden.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    clips = FolderSource(str(tmp_path)).clips()
    assert [clip.id for clip in clips] == ["c.opus", "x/a.wav", "x/b.FLAC"]
    assert [clip.speaker for clip in clips] == [None, "x", "x"]
    assert [clip.id for clip in FolderSource(str(tmp_path), ["wav"], name="mine").clips()] == ["mine/x/a.wav"]


def test_names_that_are_not_utf8_become_printable_ids(tmp_path: Path) -> None:
    for name in (b"caf\xe9.wav", b"caf\xe8.wav", "café.wav".encode(), b"\xff/a.wav"):
        path = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name)))
        path.parent.mkdir(exist_ok=True)
        path.touch()
    clips = FolderSource(str(tmp_path), name="mine").clips()
    ids = {"mine/café.wav", r"mine/caf\udce8.wav", r"mine/caf\udce9.wav", r"mine/\udcff/a.wav"}
    assert {clip.id for clip in clips} == ids
    assert {clip.speaker for clip in clips} == {None, r"\udcff"}
    assert all(Path(clip.path).is_file() for clip in clips)


def test_empty_folder_names_folder_and_extensions(tmp_path: Path) -> None:
    with pytest.raises(DataError) as found:
        FolderSource(str(tmp_path), [".wav", ".flac"]).clips()
    assert str(tmp_path) in str(found.value) and ".wav, .flac" in str(found.value)
    with pytest.raises(DataError, match="does not exist"):
        FolderSource(str(tmp_path / "no")).clips()


@pytest.mark.parametrize("column", ["duration", "seconds"])
def test_tsv_manifest(tmp_path: Path, column: str) -> None:
    text = f"path\t{column}\tspeaker\tsplit\tother\na.wav\t1.5\tann\ttrain\tx\nb.wav\t\t\ttest\ty\n"
    path = manifest(tmp_path, text)
    a, b = ManifestSource(path).clips()
    assert a == (str(tmp_path / "a.wav"), "a.wav", 1.5, "ann", None, None) and (b.seconds, b.speaker) == (None, None)
    assert [clip.id for clip in ManifestSource(path, "test").clips()] == ["b.wav"]
    with pytest.raises(DataError, match="no split 'dev': choose from test, train"):
        ManifestSource(path, "dev").clips()


def test_jsonl_manifest_and_root(tmp_path: Path) -> None:
    (tmp_path / "audio").mkdir()
    manifest(tmp_path / "audio", "")
    rows = [{"path": "a.wav", "duration": 2}, {"path": str(tmp_path / "audio/b.wav"), "speaker": "bo"}]
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    clips = ManifestSource(str(path), root=str(tmp_path / "audio")).clips()
    assert [(clip.id, clip.seconds) for clip in clips] == [("a.wav", 2.0), ("b.wav", None)]
    assert all(Path(clip.path).exists() for clip in clips)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("sound\tseconds\na.wav\t1\n", "l.tsv", "line 1 has no column path or audio"),
        ("path\tseconds\na.wav\tlong\n", "l.tsv", "line 2 has the duration 'long', which is not a number"),
        ("path\tseconds\na.wav\tnan\n", "l.tsv", "line 2 has the duration 'nan'"),
        ("path\tspeaker\na.wav\tx\n\tx\n", "l.tsv", "line 3 has no path"),
        ("path\n", "l.tsv", "lists no clips"),
        ("path\ngone.wav\n", "l.tsv", "gone.wav, which does not exist: set `root`"),
        ('{"path": "a.wav"}\n{"path": \n', "l.jsonl", "line 2 is not JSON"),
        ("3\n", "l.jsonl", "line 1 is '3', not an object"),
    ],
)
def test_manifest_mistakes(tmp_path: Path, text: str, name: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        ManifestSource(manifest(tmp_path, text, name)).clips()


def test_missing_manifest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        ManifestSource(str(tmp_path / "no.tsv")).clips()


def test_corpus_layouts(write: Callable[..., Path], tmp_path: Path) -> None:
    write("LibriTTS/dev-clean/84/12/84_12_0_0.wav")
    write("LibriSpeech/dev-clean/84/12/84-12-0000.flac")
    write("LibriSpeech/test-clean/61/7/61-7-0000.flac")
    for speaker, microphone in (("p225", "mic1"), ("p225", "mic2"), ("p226", "mic2")):
        write(f"VCTK-Corpus-0.92/wav48_silence_trimmed/{speaker}/{speaker}_001_{microphone}.flac")
    root = str(tmp_path)
    assert [c.id for c in LibriTTSSource(root, ["dev-clean"]).clips()] == ["LibriTTS/dev-clean/84/12/84_12_0_0.wav"]
    both = LibriSpeechSource(root, ["dev-clean", "test-clean"]).clips()
    assert [(clip.speaker, Path(clip.path).name) for clip in both] == [
        ("84", "84-12-0000.flac"),
        ("61", "61-7-0000.flac"),
    ]
    assert [clip.speaker for clip in VCTKSource(root).clips()] == ["p225", "p226"]
    assert [Path(c.path).name for c in VCTKSource(root, ["p225"], microphone="mic1").clips()] == ["p225_001_mic1.flac"]
    with pytest.raises(DataError, match=r"no speakers \['p999'\]"):
        VCTKSource(root, ["p999"]).clips()
    with pytest.raises(DataError, match="set `download: true`"):
        LibriTTSSource(root, ["test-clean"]).clips()


def test_prepare_downloads_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, bool]] = []
    monkeypatch.setattr(
        "data.sources.corpora.LIBRITTS", lambda root, url, download: asked.append((root, url, download))
    )
    LibriTTSSource(str(tmp_path), ["dev-clean"]).prepare()
    assert asked == []
    LibriTTSSource(str(tmp_path / "new"), ["dev-clean", "test-clean"], download=True).prepare()
    assert asked == [(str(tmp_path / "new"), part, True) for part in ("dev-clean", "test-clean")]


def test_ids_are_unique_and_subsets_spread(tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    clips = FolderSource(str(tmp_path)).clips()
    with pytest.raises(DataError, match=r"'a\.wav': give the sources different `name`s"):
        unique_clips(clips + clips)
    assert spread_clips(list(range(10)), 3) == [0, 3, 6]  # type: ignore[arg-type]
    assert spread_clips(clips, 5) == clips
