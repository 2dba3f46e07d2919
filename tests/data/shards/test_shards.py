"""`ShardSource`: the very batches of loose files, from any place in the stream, on disk or in object storage."""

import logging
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest
import torch
from jsonargparse import ArgumentParser

from data import AudioReadError, AudioSource, DataError, FolderSource, ShardSource, SpeechDataModule
from data.audio.members import OPEN_SHARDS, REQUEST_BYTES, open_member
from data.audio.reading import read_crop, read_whole
from data.prepare import pack
from tests.data.test_datamodule import batches, place

Write = Callable[..., Path]


@pytest.fixture
def loose(write: Write, tmp_path: Path) -> FolderSource:
    for number, name in enumerate(("a.flac", "b.wav", "ann/c.ogg", "ann/long.wav", "bo/d.flac", "bo/é e.wav")):
        write(f"loose/{name}", 12.0 if "long" in name else 1.5 + number / 4, rate=(16000, 24000)[number % 2])
    return FolderSource(str(tmp_path / "loose"))


@pytest.fixture
def shards(loose: FolderSource, tmp_path: Path) -> ShardSource:
    assert pack(loose, tmp_path / "packed", shard_bytes=300_000).shards == 3
    return ShardSource(str(tmp_path / "packed"))


@pytest.fixture
def remote(shards: ShardSource) -> Iterator[ShardSource]:
    """The same shards in fsspec's storage in memory, which stands for object storage."""
    storage = fsspec.filesystem("memory")
    for path in Path(shards.root).iterdir():
        storage.pipe(f"/bucket/{path.name}", path.read_bytes())
    yield ShardSource("memory://bucket/")
    storage.rm("/bucket", recursive=True)


def module(source: AudioSource, **options: Any) -> SpeechDataModule:
    return SpeechDataModule(source, **{"crop_seconds": 0.2, "batch_size": 4, "num_workers": 0, "seed": 3, **options})


def same(a: list[Any], b: list[Any]) -> bool:
    return len(a) == len(b) and all(torch.equal(x["audio"], y["audio"]) for x, y in zip(a, b, strict=True))


def shard_of(path: str) -> Path:
    return Path(path.partition(".tar/")[0] + ".tar")


def test_clips_are_those_of_the_loose_files(loose: FolderSource, shards: ShardSource) -> None:
    ours, theirs = shards.clips(), loose.clips()
    assert [(clip.id, clip.speaker) for clip in ours] == [(clip.id, clip.speaker) for clip in theirs]
    for a, b in zip(ours, theirs, strict=True):
        assert torch.equal(read_whole(a.path, (16000,))[0], read_whole(b.path, (16000,))[0])
        crops = [read_crop(clip.path, 3200, rates=(16000,), position=0.9) for clip in (a, b)]
        assert torch.equal(crops[0].waves[0], crops[1].waves[0]) and crops[0].start == crops[1].start
    assert ShardSource(shards.root, name="mine").clips()[0].id == "mine/a.flac"


def test_batches_are_those_of_loose_files_for_any_number_of_workers(loose: FolderSource, shards: ShardSource) -> None:
    expected = batches(module(loose), 6)
    for workers in (0, 2):
        assert same(batches(module(shards, num_workers=workers), 6), expected)


def test_stream_goes_on_after_an_interruption(shards: ShardSource) -> None:
    whole = batches(module(shards), 7)
    resumed = module(shards, num_workers=1)
    place(resumed, 0, 1, step=4)
    assert same(batches(resumed, 3), whole[4:])


def test_ranks_share_the_stream_without_overlap(shards: ShardSource) -> None:
    whole = batches(module(shards), 3)
    parts = []
    for rank in range(2):
        half = module(shards, batch_size=2)
        place(half, rank, 2)
        parts.append(batches(half, 3))
    joined = [{"audio": torch.cat((a["audio"], b["audio"]))} for a, b in zip(*parts, strict=True)]
    assert same(joined, whole)


def test_object_storage_gives_the_same(loose: FolderSource, remote: ShardSource, shards: ShardSource) -> None:
    assert [clip.id for clip in remote.clips()] == [clip.id for clip in shards.clips()]
    long = next(clip for clip in remote.clips() if "long" in clip.id)
    assert Path(loose.root, long.id).stat().st_size > 2 * REQUEST_BYTES - 200_000  # more than one request
    assert same(batches(module(remote), 6), batches(module(loose), 6))


def test_member_reads_and_seeks_as_a_file(shards: ShardSource, remote: ShardSource, tmp_path: Path) -> None:
    for source, size in ((shards, 10_000), (remote, 100_000)):
        for clip in source.clips():
            data = (tmp_path / "loose" / clip.id).read_bytes()
            file = open_member(clip.path)
            assert file is not None and str(file) == clip.path
            pieces = iter(lambda file=file, size=size: file.read(size), b"")  # type: ignore[misc]
            assert b"".join(pieces) == data and file.tell() == len(data)
            assert (file.seek(-7, 2), file.read(99)) == (len(data) - 7, data[-7:])
            assert (file.seek(10), file.seek(5, 1), file.read(4)) == (10, 15, data[15:19])
            assert file.seek(5, 2) == len(data) + 5 and file.read(4) == b""
    assert open_member(str(tmp_path / "x.tar/a.flac")) is None


@pytest.mark.parametrize("damage", ["gone", "cut", "remote cut", "remote gone"])
def test_bad_shard_is_skipped_and_counted_once(
    damage: str, shards: ShardSource, remote: ShardSource, caplog: pytest.LogCaptureFixture
) -> None:
    source = remote if "remote" in damage else shards
    clips = source.clips()
    shard = str(shard_of(clips[-1].path)) if source is shards else clips[-1].path.partition(".tar/")[0] + ".tar"
    assert sum(clip.path.startswith(shard) for clip in clips) == 3
    if damage == "cut":
        open_member(clips[-1].path)  # so that the shard is already open when it becomes shorter
    storage, path = fsspec.core.url_to_fs(shard)
    data = storage.cat_file(path)
    storage.rm(path) if "gone" in damage else storage.pipe(path, data[:1000])
    with caplog.at_level(logging.WARNING):
        damaged, again = module(source), module(source)
        first = batches(damaged, 12)
    assert list(damaged.bad_file_reasons()) == [shard] and damaged.bad_file_count() == 1
    assert ("cut off" if "cut" in damage else "cannot be read") in damaged.bad_file_reasons()[shard]
    assert caplog.text.count(f"bad audio file: {shard}") == 1
    place(again, 0, 1, step=8)
    assert same(batches(again, 4), first[8:])  # knows of no bad shard yet, and draws the same
    with pytest.raises(AudioReadError, match=r"shard-\d+\.tar: unreadable: the shard"):
        batches(module(source, strict=True), 12)


def test_damaged_clip_is_named_and_its_neighbours_are_used(shards: ShardSource) -> None:
    clips = shards.clips()
    clip = next(clip for clip in clips if clip.id == "bo/d.flac")
    shard, place_in = shard_of(clip.path), int(clip.path.split("#")[1].split("+")[0])
    data = bytearray(shard.read_bytes())
    data[place_in : place_in + 40_000] = bytes(40_000)
    shard.write_bytes(data)
    damaged = module(shards)
    batches(damaged, 12)
    assert list(damaged.bad_file_reasons()) == [clip.path]


def test_evaluation_reads_shards_and_leaves_bad_ones_out(shards: ShardSource) -> None:
    clips = shards.clips()
    shard_of(clips[-1].path).unlink()
    whole = SpeechDataModule(test=shards, num_workers=0)
    whole.setup("test")
    assert [batch["id"][0] for batch in whole.test_dataloader()] == [clip.id for clip in clips[:-3]]


def test_more_shards_than_may_be_open(write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", lambda descriptor: None)  # hundreds of files: slow on some disks
    for number in range(OPEN_SHARDS + 5):
        write(f"many/{number:03}.wav", 0.05)
    assert pack(FolderSource(str(tmp_path / "many")), tmp_path / "out", shard_bytes=1).shards == OPEN_SHARDS + 5
    for clip in 2 * ShardSource(str(tmp_path / "out")).clips():
        read_whole(clip.path, (16000,))
    open_files = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.exists()]
    assert sum(path.suffix == ".tar" for path in open_files) <= OPEN_SHARDS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # webdataset leaves files open
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_shards_are_plain_tar_files_in_the_layout_of_webdataset(shards: ShardSource, tmp_path: Path) -> None:
    webdataset = pytest.importorskip("webdataset")
    paths = sorted(map(str, Path(shards.root).glob("*.tar")))
    with tarfile.open(paths[0]) as tar:
        for name in tar.getnames():
            assert tar.extractfile(name).read() == (tmp_path / "loose" / name).read_bytes()  # type: ignore[union-attr]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == [clip.id.rpartition(".")[0] for clip in shards.clips()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1: '' does not name the columns"),
        ("path\tseconds\n", "line 1: 'path.*does not name the columns"),
        ("{header}", "lists no clips"),
        ("{header}a.wav\t1.0\n", "line 2: 'a.wav.*is not a row of path"),
        ("{header}{row}a.wav\tlong\t1\t\ts.tar\t512\t9\tff\n", "line 3: 'a.wav.*is not a row of path"),
        ("{header}a.wav\t1.0\t1\t\ts.tar\t-512\t9\tff\n", "line 2: 'a.wav.*is not a row of path"),
        ("{header}a.wav\tnan\t1\t\ts.tar\t512\t9\tff\n", "line 2: 'a.wav.*is not a row of path"),
        ("{header}a.wav\t1.0\t1\t\ts.zip\t512\t9\tff\n", "line 2: 'a.wav.*is not a row of path"),
        (b"\xff\xfe", "not text"),
    ],
)
def test_manifest_mistakes(shards: ShardSource, text: str | bytes, message: str) -> None:
    manifest = Path(shards.root, "manifest.tsv")
    header, row = manifest.read_text().splitlines(keepends=True)[:2]
    data = text if isinstance(text, bytes) else text.format(header=header, row=row).encode()
    manifest.write_bytes(data)
    with pytest.raises(DataError, match=message):
        shards.clips()


def test_missing_manifest_names_the_remedy(tmp_path: Path) -> None:
    for root in (str(tmp_path), str(tmp_path / "no"), "memory://nowhere"):
        with pytest.raises(DataError, match=r"manifest.tsv does not exist: pack the corpus with `python -m data"):
            ShardSource(root).clips()


@pytest.mark.parametrize(
    ("root", "reason"),
    [
        ("http://127.0.0.1:9/corpus", "Cannot connect|Connect call failed"),
        ("sftp://nowhere/corpus", r"ImportError: .*paramiko"),  # a package that is not there
        ("moon://corpus", "Protocol not known: moon"),
    ],
)
def test_what_is_out_of_reach_is_one_sentence(root: str, reason: str) -> None:
    with pytest.raises(DataError, match=rf"{root}/manifest.tsv cannot be read \(.*({reason}).*\): correct `root`"):
        ShardSource(root).clips()


def test_named_in_yaml(shards: ShardSource) -> None:
    parser = ArgumentParser()
    parser.add_class_arguments(SpeechDataModule, "data")
    source = {"class_path": "data.ShardSource", "init_args": {"root": shards.root}}
    built = parser.instantiate(parser.parse_object({"data": {"train": source, "num_workers": 0}})).data
    assert len(batches(built, 1)) == 1
