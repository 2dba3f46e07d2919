"""Lhotse's cuts and recordings, as Lhotse itself writes them and by hand."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data import Clip, DataError, ManifestSource

Write = Callable[..., Path]


@pytest.mark.parametrize("name", ["cuts.jsonl", "cuts.jsonl.gz"])
def test_cuts_and_recordings_that_lhotse_writes(write: Write, tmp_path: Path, name: str) -> None:
    lhotse = pytest.importorskip("lhotse")
    path = str(write("talk.wav", 3.0))
    recording = lhotse.Recording.from_file(path, recording_id="rec")
    spoken = [lhotse.SupervisionSegment("s", "rec", start=0.5, duration=1.0, speaker="ann")]
    whole = lhotse.MonoCut("whole", start=0, duration=3.0, channel=0, recording=recording)
    part = lhotse.MonoCut("part", start=1.25, duration=1.5, channel=0, recording=recording, supervisions=spoken)
    lhotse.CutSet.from_cuts([whole, part]).to_file(tmp_path / name)
    assert ManifestSource(str(tmp_path / name)).clips() == [
        Clip(path, "whole", 3.0),
        Clip(path, "part", 1.5, "ann", 1.25),
    ]
    lhotse.RecordingSet.from_recordings([recording]).to_file(tmp_path / "recordings.jsonl")
    assert ManifestSource(str(tmp_path / "recordings.jsonl")).clips() == [Clip(path, "rec", 3.0)]


def cut(**changes: Any) -> dict:
    source = {"type": "file", "channels": [0], "source": "talk.wav"}
    recording = {"id": "rec", "sources": [source], "sampling_rate": 16000, "num_samples": 48000, "duration": 3.0}
    row = {"id": "c", "start": 0.5, "duration": 1.0, "channel": 0, "recording": recording, "type": "MonoCut"}
    for name, value in changes.items():
        (row if name in row else source if name in source else recording)[name] = value
    return row


def test_paths_are_relative_to_the_list_or_to_where_lhotse_ran(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("talk.wav", 3.0)
    for folder in (".", "data/cuts"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / "cuts.jsonl").write_text(json.dumps(cut()))
        (clip,) = ManifestSource(str(tmp_path / folder / "cuts.jsonl")).clips()
        assert clip.id == "c" and Path(clip.path).samefile(tmp_path / "talk.wav")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "MixedCut"}, "line 2 is a MixedCut, which is no piece of one file: save its audio"),
        ({"type": "PaddingCut"}, "line 2 is a PaddingCut"),
        ({"recording": None}, "line 2 is a cut without a recording"),
        ({"start": -1}, "line 2 is a cut from -1 s on of 1 s"),
        ({"duration": 0}, "line 2 is a cut from 0.5 s on of 0 s"),
        ({"channels": [0, 1]}, "line 2 is channel 0 of a file with 2 channels"),
        ({"channel": 3}, "line 2 has its channels in 0 files: correct the cut's channel"),
        ({"source": "sox x.wav -|", "channels": [0]}, None),
        ({"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}, "line 2 has the transform Speed"),
        ({"transforms": [{"name": "Resample", "kwargs": {}}]}, None),
        ({"start": "x"}, "line 2 is no cut or recording of Lhotse"),
        ({"id": "../c"}, "line 2 has the id '../c'"),
    ],
)
def test_what_is_no_piece_of_one_file_is_refused(
    write: Write, tmp_path: Path, changes: dict, message: str | None
) -> None:
    write("talk.wav", 3.0)
    (tmp_path / "cuts.jsonl").write_text("\n".join(map(json.dumps, (cut(id="d"), cut(**changes)))))
    if message is None:
        assert len(ManifestSource(str(tmp_path / "cuts.jsonl")).clips()) == 2
        return
    with pytest.raises(DataError, match=message):
        ManifestSource(str(tmp_path / "cuts.jsonl")).clips()


def test_audio_behind_a_command_is_refused(tmp_path: Path) -> None:
    row = cut()
    row["recording"]["sources"][0]["type"] = "command"
    (tmp_path / "cuts.jsonl").write_text(json.dumps(row))
    with pytest.raises(DataError, match="line 1 has audio of the type 'command', not in a file"):
        ManifestSource(str(tmp_path / "cuts.jsonl")).clips()


def test_a_file_for_each_channel(write: Write, tmp_path: Path) -> None:
    write("left.wav", 3.0), write("right.wav", 3.0)
    row = cut(channel=1)
    row["recording"]["sources"] = [
        {"type": "file", "channels": [number], "source": f"{side}.wav"} for number, side in enumerate(("left", "right"))
    ]
    (tmp_path / "cuts.jsonl").write_text(json.dumps(row))
    (clip,) = ManifestSource(str(tmp_path / "cuts.jsonl")).clips()
    assert Path(clip.path).name == "right.wav"
