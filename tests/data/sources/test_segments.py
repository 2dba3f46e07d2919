"""Rows with an offset are segments of their files: ids of their own, the list's own names, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from data import Clip, DataError, ManifestSource

Write = Callable[..., Path]


def listed(folder: Path, rows: list[dict], **options: str) -> list[Clip]:
    """The clips of a list in JSON lines."""
    (folder / "list.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return ManifestSource(str(folder / "list.jsonl"), **options).clips()


def test_segments_of_one_file(write: Write, tmp_path: Path) -> None:
    write("x/talk.wav", 2.5)
    rows = [
        {"audio_filepath": "x/talk.wav", "offset": 0.0, "duration": 1.0},
        {"audio_filepath": "x/talk.wav", "offset": 1.2, "duration": 1.0},
        {"audio_filepath": "x/talk.wav", "offset": "2.0"},
        {"audio_filepath": "x/talk.wav", "offset": 0.1234567, "end": 0.5},
    ]
    clips = listed(tmp_path, rows, name="mine")
    assert [(clip.start, clip.seconds) for clip in clips[:3]] == [(0.0, 1.0), (1.2, 1.0), (2.0, None)]
    assert clips[3].start == 0.1234567 and clips[3].seconds == pytest.approx(0.3765433)
    assert {clip.path for clip in clips} == {str(tmp_path / "x/talk.wav")}
    stems = ["0.000-1.000", "1.200-2.200", "2.000-end", "0.123457-0.500"]
    assert [clip.id for clip in clips] == [f"mine/x/talk_{stem}.wav" for stem in stems]


@pytest.mark.parametrize("duration", [2.5, 2.495, 3.0])
def test_offset_0_with_the_length_of_the_file_is_the_whole_file(write: Write, tmp_path: Path, duration: float) -> None:
    path = str(write("talk.wav", 2.5))
    clips = listed(
        tmp_path, [{"path": "talk.wav", "offset": 0, "duration": duration}, {"path": "talk.wav", "offset": 0}]
    )
    assert clips == [Clip(path, "talk.wav", duration), Clip(path, "talk.wav")]


def test_absolute_paths_give_ids_that_do_not_depend_on_the_machine(write: Write, tmp_path: Path) -> None:
    row = {"path": str(write("far/a/b/c/talk.flac", 2.0)), "offset": 0.5, "duration": 1}
    (tmp_path / "list").mkdir()
    assert listed(tmp_path / "list", [row])[0].id == "b/c/talk_0.500-1.500.flac"
    assert listed(tmp_path / "list", [row], root=str(tmp_path))[0].id == "far/a/b/c/talk_0.500-1.500.flac"


@pytest.mark.parametrize("column", ["id", "utt", "utterance_id", "Utt-ID"])
def test_the_name_that_the_list_gives_comes_first(write: Write, tmp_path: Path, column: str) -> None:
    write("talk.wav", 2.5)
    rows = [{"path": "talk.wav", "offset": 1, "duration": 1, column: "ann-7"}, {"path": "talk.wav", "offset": 1}]
    assert [clip.id for clip in listed(tmp_path, rows)] == ["ann-7", "talk_1.000-end.wav"]


def test_whole_files_keep_their_ids_beside_an_id_column(write: Write, tmp_path: Path) -> None:
    write("talk.wav", 0.5)
    assert listed(tmp_path, [{"path": "talk.wav", "id": "x"}])[0].id == "talk.wav"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"offset": -0.5, "duration": 1}, "line 2 has the offset '-0.5', which is not a number of seconds from 0 on"),
        ({"offset": "later"}, "line 2 has the offset 'later'"),
        ({"offset": float("nan")}, "line 2 has the offset 'nan'"),
        ({"offset": float("inf")}, "line 2 has the offset 'inf'"),
        ({"offset": 2, "duration": 0}, "line 2 has a segment at 2 s with the duration 0 s"),
        ({"offset": 2, "end_time": 1.5}, "line 2 has a segment at 2 s with the duration -0.5 s"),
        ({"offset": 2, "end_time": "x"}, "line 2 has the end 'x', which is not a number"),
        ({"start": 200, "stop": 300}, "line 2 has the columns start and stop, which are samples"),
        ({"offset": 1, "id": "../x"}, r"line 2 has the id '../x', which no file can be named after"),
        ({"offset": 1, "id": "/x"}, r"line 2 has the id '/x', which no file can be named after"),
    ],
)
def test_mistakes_name_the_line(write: Write, tmp_path: Path, fields: dict, message: str) -> None:
    write("talk.wav", 2.5)
    with pytest.raises(DataError, match=message):
        listed(tmp_path, [{"path": "talk.wav"}, {"path": "talk.wav", **fields}])


def test_tables_have_segments_too(write: Write, tmp_path: Path) -> None:
    write("talk.wav", 2.5)
    for name, separator in (("list.tsv", "\t"), ("list.csv", ",")):
        lines = ["path,offset,duration", "talk.wav,1,1", "talk.wav,,", "talk.wav,-1,1"]
        (tmp_path / name).write_text("\n".join(lines[:3]).replace(",", separator))
        ids = [clip.id for clip in ManifestSource(str(tmp_path / name)).clips()]
        assert ids == ["talk_1.000-2.000.wav", "talk.wav"]
        (tmp_path / name).write_text("\n".join(lines).replace(",", separator))
        with pytest.raises(DataError, match="line 4 has the offset '-1'"):
            ManifestSource(str(tmp_path / name)).clips()
