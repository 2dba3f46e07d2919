"""`python -m data.prepare`: every clip once, the same result after any interruption, one sentence for each mistake."""

import errno
import hashlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from data import FolderSource, ManifestSource, ShardSource
from data.audio.members import open_member
from data.audio.reading import read_whole
from data.prepare import FLAC, OPUS, Recipe, jobs, main, pack
from tests.support.folders import contents
from tests.support.paths import ROOT

Write = Callable[..., Path]


@pytest.fixture
def corpus(write: Write, tmp_path: Path) -> Path:
    for number in range(8):
        write(f"corpus/s{number % 3}/{number}.{('wav', 'flac')[number % 2]}", 0.5 + number / 4)
    return tmp_path / "corpus"


def rows(folder: Path) -> list[dict[str, str]]:
    header, *lines = (folder / "manifest.tsv").read_text().splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=True)) for line in lines]


def test_every_file_lies_unchanged_where_the_manifest_says(corpus: Path, tmp_path: Path) -> None:
    assert main([str(corpus), str(tmp_path / "out"), "--shard-size", "100K", "--workers", "2"]) == 0
    listed = rows(tmp_path / "out")
    ids = [clip.id for clip in FolderSource(str(corpus)).clips()]
    assert [row["path"] for row in listed] == ids and len({row["shard"] for row in listed}) > 2
    for row in listed:
        shard, start = (tmp_path / "out" / row["shard"]).read_bytes(), int(row["offset"])
        original = (corpus / row["path"]).read_bytes()
        assert shard[start : start + int(row["size"])] == original
        assert hashlib.sha256(original).hexdigest() == row["sha256"]
        assert float(row["seconds"]) == soundfile.info(corpus / row["path"]).duration
        assert (row["sample_rate"], row["speaker"]) == ("16000", row["path"].split("/")[0])


def test_result_does_not_depend_on_workers_or_time(corpus: Path, tmp_path: Path) -> None:
    for workers in (1, 3):
        pack(FolderSource(str(corpus)), tmp_path / f"out{workers}", shard_bytes=60_000, workers=workers)
        for path in corpus.rglob("*.*"):
            os.utime(path, (1, 1))
    assert contents(tmp_path / "out1") == contents(tmp_path / "out3")


KILLED_IN_THE_FIFTH_SHARD = """
import os, runpy, signal
real, calls = os.fsync, iter(range(9))  # of corpus.json, and of a tar file and a record for each shard

def sync(descriptor):
    if next(calls, None) is None:
        os.kill(os.getpid(), signal.SIGKILL)
    real(descriptor)

os.fsync = sync
runpy.run_module("data.prepare", run_name="__main__")
"""


def test_killed_run_goes_on_to_the_same_result(write: Write, tmp_path: Path) -> None:
    for number in range(10):
        write(f"corpus/{number:02}.wav", 1.0)
    source = FolderSource(str(tmp_path / "corpus"))
    pack(source, tmp_path / "whole", recipe=Recipe(FLAC, 8000), shard_bytes=1)
    command = [sys.executable, "-c", KILLED_IN_THE_FIFTH_SHARD, str(tmp_path / "corpus"), str(tmp_path / "out")]
    options = ["--shard-size=1", "--format=flac", "--sample-rate=8000", "--workers=2"]
    process = subprocess.run([*command, *options], cwd=ROOT, capture_output=True)
    assert process.returncode == -signal.SIGKILL and not (tmp_path / "out/manifest.tsv").exists()
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").glob("shard-*.json")}
    assert 1 < len(done) < 10
    (tmp_path / "out/.shard-00009.tar.tmp").write_bytes(b"half a shard")
    pack(source, tmp_path / "out", recipe=Recipe(FLAC, 8000), shard_bytes=1)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert all(path.stat().st_mtime_ns == time for path, time in done.items()), "finished shards were made again"


def test_lost_or_cut_shard_is_made_again(corpus: Path, tmp_path: Path) -> None:
    source, out = FolderSource(str(corpus)), tmp_path / "out"
    pack(source, out, shard_bytes=60_000)
    whole = contents(out)
    (out / "shard-00001.tar").unlink()
    os.truncate(out / "shard-00002.tar", 700)
    (out / "manifest.tsv").unlink()
    pack(source, out, shard_bytes=60_000)
    assert contents(out) == whole


@pytest.mark.parametrize("kind", ["empty", "text", "nan", "truncated.wav", "truncated.flac", "link"])
def test_bad_file_is_left_out_counted_and_listed(
    corpus: Path, bad_file: Callable[[str], Path], kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = bad_file(kind)
    assert main([str(corpus), str(tmp_path / "out")]) == 0
    output = capsys.readouterr().out
    assert "8 clips" in output and f"left out: {path}: " in output and "1 file left out" in output
    listed = (tmp_path / "out/bad_files.tsv").read_text().splitlines()
    assert len(listed) == 2 and listed[1].startswith(f"{path}\t") and len(rows(tmp_path / "out")) == 8


def test_flac_is_lossless_and_resampled_audio_is_what_is_read(write: Write, tmp_path: Path) -> None:
    sixteen, stereo = write("corpus/a.b.wav", rate=16000), write("corpus/c.flac", 10.0, rate=24000, channels=2)
    source = FolderSource(str(tmp_path / "corpus"))
    pack(source, tmp_path / "flac", recipe=Recipe(FLAC, 16000))
    a, c = ShardSource(str(tmp_path / "flac")).clips()
    assert (a.id, c.id, c.seconds) == ("a.b.flac", "c.flac", 10.0)
    packed, original = (soundfile.read(file, dtype="int16")[0] for file in (open_member(a.path), sixteen))
    assert np.array_equal(packed, original)
    error = read_whole(c.path, (16000,))[0] - read_whole(stereo, (16000,))[0]
    assert error.abs().max() <= 2**-15
    pack(source, tmp_path / "opus", recipe=Recipe(OPUS, 16000))
    a, c = ShardSource(str(tmp_path / "opus")).clips()
    wave = read_whole(c.path, (16000,))[0]
    assert c.id == "c.opus" and c.seconds == 10.0 and abs(wave.shape[1] - 10 * 16000) < 160


def test_names_stay_inside_the_folder_apart_and_on_one_line(write: Write, tmp_path: Path) -> None:
    for name in ("up/x.wav", "up/x.flac", "in/tab\tname.wav"):
        write(name, 0.1)
    (tmp_path / "in/list.tsv").write_text("path\n../up/x.wav\n../up/x.flac\n")
    pack(ManifestSource(str(tmp_path / "in/list.tsv")), tmp_path / "one", recipe=Recipe(FLAC))
    assert [row["path"] for row in rows(tmp_path / "one")] == ["up/x.flac", "up/x.flac_.flac"]
    pack(FolderSource(str(tmp_path / "in")), tmp_path / "two")
    assert [row["path"] for row in rows(tmp_path / "two")] == ["tab_name.wav"]


def test_names_that_are_not_utf8_are_packed_apart(
    write: Write, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    folder = os.fsencode(tmp_path / "in")
    for name in (b"caf\xe9.wav", b"caf\xe8.wav"):
        write("x.wav", 0.1 + len(os.listdir(tmp_path)) / 10)
        os.renames(tmp_path / "x.wav", os.path.join(folder, name))
    with open(os.path.join(folder, b"bad\xe9.wav"), "wb") as file:
        file.write(b"no sound")
    assert main([str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert [row["path"] for row in rows(tmp_path / "out")] == [r"caf\udce8.wav", r"caf\udce9.wav"]
    assert rb"bad\udce9.wav: not audio" in capsysbinary.readouterr().out
    assert r"bad\udce9.wav" in (tmp_path / "out/bad_files.tsv").read_text()
    packed, loose = (
        source.clips() for source in (ShardSource(str(tmp_path / "out")), FolderSource(str(tmp_path / "in")))
    )
    assert [clip.id for clip in packed] == [clip.id for clip in loose if "bad" not in clip.id]
    assert read_whole(packed[1].path, (16000,))[0].shape == read_whole(loose[2].path, (16000,))[0].shape


def test_manifest_passes_on_lengths_speakers_and_one_split(corpus: Path, tmp_path: Path) -> None:
    lines = ["path\tseconds\tspeaker\tsplit", "s0/0.wav\t0.49\tann\ttrain", "s1/1.flac\t\tbo\ttest"]
    (corpus / "list.tsv").write_text("\n".join(lines))
    assert main([str(corpus / "list.tsv"), str(tmp_path / "out"), "--split", "train"]) == 0
    (row,) = rows(tmp_path / "out")
    assert (row["path"], row["seconds"], row["speaker"]) == ("s0/0.wav", "0.49", "ann")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/no", "{tmp}/out"], "no does not exist: give a folder"),
        (["{tmp}/empty", "{tmp}/out"], "holds no audio"),
        (["{tmp}/text", "{tmp}/out"], "the one file cannot be read: .*bad_files.tsv lists why"),
        (["{tmp}/corpus", "{tmp}/text"], "text holds other files: give a new or empty folder"),
        (["{tmp}/corpus", "{tmp}/text/a.wav"], "a.wav is a file: give a new or empty folder"),
        (["{tmp}/corpus", "{tmp}/other"], "other holds another corpus, from other files or options"),
        (["{tmp}/corpus", "{tmp}/out", "--shard-size", "huge"], "--shard-size 'huge' is not a size: give bytes"),
        (["{tmp}/corpus", "{tmp}/out", "--workers", "0"], "--workers 0 must be at least 1"),
        (["{tmp}/corpus", "{tmp}/out", "--split", "train"], "--split train needs a manifest"),
        (["{tmp}/corpus", "{tmp}/out", "--sample-rate", "16000"], "cannot go with --format as-is"),
        (["{tmp}/corpus", "{tmp}/out", "--format", "flac", "--sample-rate", "0"], "--sample-rate 0 must be"),
        (["{tmp}/corpus", "{tmp}/out", "--format", "opus"], "--format opus needs a --sample-rate of Opus: give one of"),
    ],
)
def test_mistakes_are_one_sentence(
    corpus: Path, tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text/a.wav").write_text("not audio")
    pack(FolderSource(str(corpus)), tmp_path / "other", shard_bytes=7)
    assert main([argument.format(tmp=tmp_path) for argument in arguments]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("error: ") and re.search(message, last)


@pytest.mark.parametrize("place", ["file/sub", "n" * 300, "file"])
def test_a_folder_that_cannot_be_made_is_one_sentence(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    (tmp_path / "file").touch()
    assert main([str(corpus), str(tmp_path / place), "--workers", "1"]) == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert told.startswith(f"error: OUT {tmp_path / place} ") and ": give a " in told and "Errno" not in told


def test_cut_ogg_is_found_by_its_manifest(write: Write, corpus: Path, tmp_path: Path) -> None:
    path = write("corpus/cut.ogg", 20.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    (corpus / "list.tsv").write_text("path\tseconds\ncut.ogg\t20.0\ns0/0.wav\t0.5\n")
    packed = pack(ManifestSource(str(corpus / "list.tsv")), tmp_path / "out")
    assert packed.clips == 1 and "of the 20.00 s" in packed.bad[str(path)]


def test_nothing_has_its_name_before_it_is_on_the_disk(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, real, left = FolderSource(str(corpus)), os.fsync, iter(range(4))

    def sync(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.EIO, "lost power")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(OSError, match="lost power"):
        pack(source, tmp_path / "out", shard_bytes=60_000)
    names = {path.name for path in (tmp_path / "out").glob("[!.]*")}
    assert names == {"corpus.json", "shard-00000.tar", "shard-00000.json", "shard-00001.tar"}


def test_full_disk_is_one_sentence_and_the_run_goes_on(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real, written = jobs.write_shard, set()

    def fill(path: Path, *rest: object, **options: object) -> object:
        if len(written) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written.add(path)
        return real(path, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(jobs, "write_shard", fill)
    command = [str(corpus), str(tmp_path / "out"), "--shard-size", "60K", "--workers", "1"]
    assert main(command) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"error: the disk of {tmp_path / 'out'} is full: make room and run the same command again, "
        "which continues from here."
    )
    assert len(written) == 2 and not (tmp_path / "out/manifest.tsv").exists()
    monkeypatch.setattr(jobs, "write_shard", real)
    assert main(command) == 0
    pack(FolderSource(str(corpus)), tmp_path / "whole", shard_bytes=60_000)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
