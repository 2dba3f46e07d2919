"""`FolderSource`: links, hidden folders, extensions, and what is passed over."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from data import DataError, FolderSource
from data.sources.folder import AUDIO_EXTENSIONS, FFMPEG_EXTENSIONS, SNDFILE_EXTENSIONS

Write = Callable[..., Path]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def link(place: Path, target: Path | str) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def ids(root: Path, **options: list[str]) -> list[str]:
    clips = FolderSource(str(root), **options).clips()
    assert [clip.path for clip in clips] == [f"{root}/{clip.id}" for clip in clips]
    return [clip.id for clip in clips]


def test_folders_behind_links_are_listed(tmp_path: Path) -> None:
    touch(tmp_path / "disk1", "ann/a.wav", "ann/x/b.wav")
    touch(tmp_path / "disk2", "c.wav")
    root = touch(tmp_path / "root", "bo/d.wav")
    link(root / "one", tmp_path / "disk1")
    link(tmp_path / "disk1/more", tmp_path / "disk2")  # a link behind a link
    link(root / "e.wav", tmp_path / "disk2/c.wav")
    assert ids(root) == ["bo/d.wav", "e.wav", "one/ann/a.wav", "one/ann/x/b.wav", "one/more/c.wav"]
    clips = FolderSource(str(root)).clips()
    assert [clip.speaker for clip in clips] == ["bo", None, "one", "one", "one"]
    link(tmp_path / "entry", root)
    assert ids(tmp_path / "entry") == ids(root)


def test_a_folder_reached_twice_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path / "far", "a.wav")
    root = touch(tmp_path / "root", "z/b.wav")
    link(root / "a", "z")  # the folder's own path comes first
    link(root / "m/second", tmp_path / "far")
    link(root / "first", tmp_path / "far")  # of two links, the first by name
    assert ids(root) == ["first/a.wav", "z/b.wav"]


def test_links_in_a_circle_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "other/b.wav")
    root = touch(tmp_path / "root", "x/a.wav")
    for name, target in (("x/up", ".."), ("x/self", "."), ("x/above", tmp_path), ("l1", "l2"), ("l2", "l1")):
        link(root / name, target)
    link(root / "gone", tmp_path / "nothing")
    with caplog.at_level(logging.WARNING):
        assert ids(root) == ["x/a.wav"]
    assert "3 links lead nowhere, such as gone" in caplog.text


def test_a_dead_link_to_a_file_is_listed_so_that_its_reading_names_it(tmp_path: Path) -> None:
    root = touch(tmp_path / "root", "a.wav")
    link(root / "b.wav", tmp_path / "nothing.wav")
    assert ids(root) == ["a.wav", "b.wav"]


def test_what_programs_leave_behind_is_no_corpus(tmp_path: Path) -> None:
    left = (".AppleDouble/a.wav", "._a.wav", "__MACOSX/x/a.wav", "x/.ipynb_checkpoints/a.wav", "x/@eaDir/a.wav/b.wav")
    root = touch(tmp_path / ".cache/corpus", "a.wav", *left)
    assert ids(root) == ["a.wav"]


@pytest.mark.parametrize("suffix", [".SPH", ".au", ".Snd", ".CAF", ".w64", ".rf64", ".aifc", ".voc", ".WAV", ".oga"])
def test_extensions_of_libsndfile_in_any_case(tmp_path: Path, suffix: str) -> None:
    assert ids(touch(tmp_path, f"a{suffix}")) == [f"a{suffix}"]


def test_m4a_and_aac_need_the_decoder() -> None:
    present = pytest.importorskip("importlib").util.find_spec("av") is not None
    assert set(AUDIO_EXTENSIONS) - set(SNDFILE_EXTENSIONS) == (set(FFMPEG_EXTENSIONS) if present else set())


def test_media_that_is_passed_over_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = touch(tmp_path, "a.wav", "x/b.M4A", "c.m4a", "d.wma", "notes.txt", "x/e.TextGrid", "f")
    with caplog.at_level(logging.WARNING):
        assert ids(root, extensions=["wav"]) == ["a.wav"]
    (record,) = caplog.records
    line = "3 files were passed over: 2 .m4a, 1 .wma: convert them to FLAC, or name their `extensions`"
    assert record.getMessage() == f"{root}: {line}"
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        ids(root, extensions=["wav", "m4a", "WMA"])
    assert not caplog.records


def test_the_missing_decoder_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data.sources.folder.AUDIO_EXTENSIONS", SNDFILE_EXTENSIONS)
    with caplog.at_level(logging.WARNING):
        ids(touch(tmp_path, "a.wav", "b.m4a"), extensions=list(SNDFILE_EXTENSIONS))
    assert "1 file was passed over: 1 .m4a: pip install av to read them" in caplog.text
    os.remove(tmp_path / "a.wav")
    with pytest.raises(DataError, match=r"no file below it ends in \.wav, .* and so on, but 1 \.m4a: pip install av"):
        ids(tmp_path, extensions=list(SNDFILE_EXTENSIONS))


def test_a_folder_without_audio_says_what_it_holds(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{number}.txt" for number in range(3)), "a.json", "b.xyz", "noext")
    with pytest.raises(
        DataError, match=r"holds no audio: .* but 3 \.txt, 1 without extension, 1 \.json, 1 \.xyz: corr"
    ):
        ids(tmp_path)


def test_a_folder_that_may_not_be_read_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.scandir

    def scan(path: str) -> object:
        if str(path).endswith("/closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr("os.scandir", scan)
    with caplog.at_level(logging.WARNING):
        assert ids(touch(tmp_path, "a.wav", "closed/b.wav")) == ["a.wav"]
    assert "1 folders cannot be read, such as closed" in caplog.text
