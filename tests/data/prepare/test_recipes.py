"""Long recordings are cut without a gap, and what is left out is named with its reason and counted."""

import fcntl
import io
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from data import FolderSource, ManifestSource, ShardSource
from data.audio.reading import read_whole
from data.errors import DataError
from data.prepare import FLAC, OPUS, Filters, Recipe, main, pack
from data.prepare.recipes import filters
from data.prepare.recipes.recipe import encoded

Write = Callable[..., Path]


def speech(seconds: float, pauses: tuple[float, ...] = (), *, rate: int = 16_000, gain: float = 0.1) -> np.ndarray:
    """Noise with pauses of 0.2 s that begin at `pauses`."""
    samples = (np.random.default_rng(1).standard_normal(round(seconds * rate)) * gain).astype(np.float32)
    for pause in pauses:
        samples[round(pause * rate) : round((pause + 0.2) * rate)] = 0
    return samples.clip(-1, 1)


def save(path: Path, samples: np.ndarray, rate: int = 16_000) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)


def table(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text().splitlines()[1:]]


def test_recordings_are_cut_in_pauses_into_pieces_without_a_gap(tmp_path: Path) -> None:
    save(tmp_path / "in/s/talk.wav", speech(14.0, (3.2, 7.1, 11.0)))
    save(tmp_path / "in/s/short.wav", speech(3.0))
    pack(FolderSource(str(tmp_path / "in")), tmp_path / "out", recipe=Recipe(FLAC, None, 5.0))
    clips = list(ShardSource(str(tmp_path / "out")).clips())
    assert clips[0].id == "s/short.flac" and [clip.speaker for clip in clips] == ["s"] * 5
    pieces = clips[1:]
    assert all(re.fullmatch(r"s/talk\.flac/\d{9}-\d{9}\.flac", clip.id) for clip in pieces)
    assert max(clip.seconds for clip in pieces) <= 5 and min(clip.seconds for clip in pieces) >= 1.25
    starts = [int(clip.id.split("/")[-1][:9]) / 1000 for clip in pieces]
    assert all(any(p < start < p + 0.2 for p in (3.2, 7.1, 11.0)) for start in starts[1:4])
    joined = np.concatenate([read_whole(clip.path, (16000,))[0][0] for clip in pieces])
    original, _ = soundfile.read(tmp_path / "in/s/talk.wav", dtype="float32")
    assert np.array_equal(joined, original)


@pytest.mark.parametrize("rate", [44_100, 24_000, 8000])
def test_resampled_pieces_are_slices_of_the_whole(tmp_path: Path, rate: int) -> None:
    save(tmp_path / "in/talk.wav", speech(7.3, (2.5,), rate=rate), rate)
    pack(FolderSource(str(tmp_path / "in")), tmp_path / "out", recipe=Recipe(FLAC, 16000, 3.0))
    pieces = torch.cat([read_whole(clip.path, (16000,))[0] for clip in ShardSource(str(tmp_path / "out")).clips()], 1)
    whole = read_whole(tmp_path / "in/talk.wav", (16000,))[0]
    assert pieces.shape == whole.shape and (pieces - whole).abs().max() <= 2**-15


@pytest.mark.parametrize("seconds", [3.0, 3.001, 3.4, 4.5, 6.0, 6.01, 30.0])
def test_pieces_have_a_quarter_of_the_limit_to_the_limit(tmp_path: Path, seconds: float) -> None:
    save(tmp_path / "in/talk.wav", np.zeros(round(16000 * seconds), np.float32))
    packed = pack(FolderSource(str(tmp_path / "in")), tmp_path / "out", recipe=Recipe(FLAC, None, 3.0))
    lengths = [clip.seconds for clip in ShardSource(str(tmp_path / "out")).clips()]
    assert abs(packed.seconds - seconds) < 1e-9 and 0.75 <= min(lengths) <= max(lengths) <= 3.0


def test_a_recording_that_breaks_off_gives_no_pieces(tmp_path: Path) -> None:
    save(tmp_path / "in/talk.flac", speech(60.0))
    save(tmp_path / "in/good.flac", speech(2.0))
    with open(tmp_path / "in/talk.flac", "r+b") as file:
        file.truncate((tmp_path / "in/talk.flac").stat().st_size // 2)
    packed = pack(FolderSource(str(tmp_path / "in")), tmp_path / "out", recipe=Recipe(FLAC, None, 5.0))
    pack(FolderSource(str(tmp_path / "in")), tmp_path / "whole", recipe=Recipe(FLAC))
    assert packed.clips == 1 and list(packed.bad) == [str(tmp_path / "in/talk.flac")]
    assert (tmp_path / "out/shard-00000.tar").read_bytes() == (tmp_path / "whole/shard-00000.tar").read_bytes()


@pytest.mark.parametrize("options", [[], ["--format", "flac"], ["--format", "flac", "--segment", "4"]])
def test_what_is_filtered_out_is_counted_by_reason_and_listed(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    clips = {"good": speech(2), "long": speech(3.5), "tiny": speech(0.2), "loud": speech(2, gain=0.32)}
    clips |= {"quiet": speech(2, gain=1e-3), "silent": 0 * speech(2), "clipped": speech(2, gain=0.7)}
    for name, samples in clips.items():
        save(tmp_path / f"in/{name}.wav", samples)
    (tmp_path / "in/bad.wav").write_text("no sound")
    limits = "--min-seconds 0.5 --max-seconds 3 --min-loudness -50 --max-loudness -8 --max-clipping 0.01".split()
    command = [str(tmp_path / "in"), str(tmp_path / "out"), *options, *limits]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert "1 clip, " in output and "1 file left out" in output
    assert "6 clips filtered out (1 clipped, 1 too long, 1 too loud, 2 too quiet, 1 too short)" in output
    listed = {Path(name).stem: (reason, value) for name, _, reason, value, *_ in table(tmp_path / "out/filtered.tsv")}
    assert listed["tiny"] == ("too short", "0.20 s") and listed["long"] == ("too long", "3.50 s")
    assert listed["silent"] == ("too quiet", "-70.0 LUFS") and listed["clipped"][0] == "clipped"
    assert listed["loud"][0] == "too loud" and [Path(r[0]).stem for r in table(tmp_path / "out/manifest.tsv")] == [
        "good"
    ]
    assert main([*command[:-1], "0.5"]) == 2 and "other files or options" in capsys.readouterr().err
    assert main(command) == 0 and "6 clips filtered out" in capsys.readouterr().out


def test_what_is_filtered_out_is_found_in_its_file(tmp_path: Path) -> None:
    quiet = speech(14.0, (3.2, 7.1, 11.0))
    quiet[round(3.3 * 16000) : round(7.2 * 16000)] *= 1e-3
    save(tmp_path / "in/talk\n1.wav", quiet)
    save(tmp_path / "in/tiny.wav", speech(0.2))
    rows = [{"path": "talk\n1.wav", "offset": 0.05, "duration": 13.0}, {"path": "tiny.wav"}]
    (tmp_path / "in/list.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = Recipe(FLAC, 8000, 5.0, Filters(min_seconds=0.5, min_loudness=-40))
    for name, source in (
        ("files", FolderSource(str(tmp_path / "in"))),
        ("parts", ManifestSource(str(tmp_path / "in/list.jsonl"))),
    ):
        assert pack(source, tmp_path / name, recipe=recipe).filtered == {"too quiet": 1, "too short": 1}
        header = (tmp_path / name / "filtered.tsv").read_text().partition("\n")[0].split("\t")
        found = [dict(zip(header, row, strict=True)) for row in table(tmp_path / name / "filtered.tsv")]
        assert [row["source"] for row in found] == [f"{tmp_path}/in/talk\\n1.wav", f"{tmp_path}/in/tiny.wav"]
        start, length = float(found[0]["start"]), float(found[0]["seconds"])
        assert start == pytest.approx(3.23, abs=0.03) and length == pytest.approx(3.9, abs=0.1)
        assert float(found[1]["start"]) == 0.0


def test_loudness_is_that_of_the_standard(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full-scale sine of 997 Hz in one channel has −3.01 LUFS (ITU-R BS.1770)."""

    class Sine:
        samplerate, channels = 48_000, 1
        frames = 48_000 * 4

        def read(self, start: int, frames: int) -> np.ndarray:
            return np.sin(2 * np.pi * 997 * np.arange(start, start + frames) / 48_000).astype(np.float32)

    level = filters.lufs(Sine(), 0, Sine.frames)  # type: ignore[arg-type]
    assert abs(level + 3.01) < 0.05
    assert abs(filters.lufs(Sine(), 0, 480) + 3.01) < 0.5, "a clip shorter than a block"  # type: ignore[arg-type]
    monkeypatch.setattr(filters, "READ_FRAMES", 10_000)
    assert abs(filters.lufs(Sine(), 0, Sine.frames) - level) < 0.05, "in parts"  # type: ignore[arg-type]


def test_all_filtered_is_one_sentence(tmp_path: Path) -> None:
    save(tmp_path / "in/a.wav", speech(1))
    with pytest.raises(DataError, match=r"no clip is left: 0 files cannot be read, 1 clip filtered"):
        pack(FolderSource(str(tmp_path / "in")), tmp_path / "out", recipe=Recipe(filters=Filters(min_seconds=2)))
    assert not (tmp_path / "out/manifest.tsv").exists()


def test_opus_has_the_same_bytes_every_time() -> None:
    samples = speech(3.0)
    first = encoded(samples, 16000, OPUS)
    time.sleep(0.01)
    assert encoded(samples, 16000, OPUS) == first
    assert len(soundfile.read(io.BytesIO(first))[0]) == len(samples)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--segment", "10"], "--segment 10.0 cannot go with --format as-is"),
        (["--format", "flac", "--segment", "0.1"], "--segment 0.1 must be at least 1 s"),
        (["--format", "flac", "--segment", "nan"], "--segment nan must be at least 1 s"),
        (["--min-seconds", "3", "--max-seconds", "2"], "--min-seconds 3.0 is above --max-seconds 2.0"),
        (["--min-loudness", "-10", "--max-loudness", "-20"], "--min-loudness -10.0 is above"),
        (["--min-loudness", "inf"], "--min-loudness inf must be a finite number"),
        (["--max-clipping", "2"], "--max-clipping 2.0 must be a share"),
        (["--min-seconds", "-1"], "--min-seconds -1.0 must be at least 0"),
        (["--address", "auto"], "--address auto is that of a Ray cluster: add --engine ray"),
    ],
)
def test_mistakes_are_one_sentence(
    write: Write, tmp_path: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write("in/a.wav", 0.5)
    assert main([str(tmp_path / "in"), str(tmp_path / "out"), *options]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_packed_corpus_is_a_source(tmp_path: Path) -> None:
    save(tmp_path / "in/s/talk.wav", speech(7.0))
    assert main([str(tmp_path / "in"), str(tmp_path / "flac"), "--format", "flac", "--segment", "3"]) == 0
    assert main([str(tmp_path / "flac"), str(tmp_path / "again"), "--shard-size", "70K"]) == 0
    first, second = (list(ShardSource(str(tmp_path / name)).clips()) for name in ("flac", "again"))
    assert [clip[1:] for clip in first] == [clip[1:] for clip in second]
    assert all(
        torch.equal(*(read_whole(clip.path, (16000,))[0] for clip in pair)) for pair in zip(first, second, strict=True)
    )
    assert len(list((tmp_path / "again").glob("*.tar"))) > 1


def test_a_second_run_in_the_folder_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "in/a.wav", speech(1))
    source = FolderSource(str(tmp_path / "in"))
    pack(source, tmp_path / "out")
    with open(tmp_path / "out/corpus.json", "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="is being written by another run"):
            pack(source, tmp_path / "out")
    pack(source, tmp_path / "out")
