"""Long lists of clips as columns: the same clips and draws as a list, kept beside the manifest, found again, shared."""

import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest

from data import AudioReadError, DataError, FolderSource, ManifestSource, ShardSource, SpeechDataModule
from data.audio.bad_files import BadFiles
from data.datasets import checks, clip_seconds
from data.prepare import pack
from data.sampling import ClipTable, draw_uniforms
from data.sources import manifest
from data.sources.base import Clip, joined, spread_clips, unique_clips
from data.sources.columns import cache, origin
from data.sources.columns.cache import cached_clips, listed
from data.sources.columns.clip_list import CHUNK, ClipList
from tests.support.speech import write_noise

ROWS = 50_000


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of more than three clips are long ones."""
    monkeypatch.setattr(cache, "SHORT", 3)
    monkeypatch.setattr("data.sources.columns.clip_list.CHUNK", 2)


def odd_clips() -> list[Clip]:
    return [
        Clip("/corpus/a/1.wav", "x/a/1.wav", 1.5, "ann"),
        Clip("/corpus/a/2 é\udce9\ud800.wav", "x/a/2 é\udce9\ud800.wav", None, ""),
        Clip("/corpus/b/ü.wav", "another id", 0.1, "bo", 2.5, "größer, als \ud800"),
        Clip("/elsewhere/3.wav", "", 1e-300, None, 0.0, "and so on"),
        Clip("/corpus/a/1.wav", "x/a/1.wav", 7.25, "ann"),
        Clip("\0/corpus/b", "x/\0/corpus/b", 3.0, "\ud800"),
        Clip("/corpus/", "x/", 3.0, "é"),
    ]


def long_manifest(folder: Path, rows: int = 12, *, name: str = "long.tsv") -> Path:
    for number in range(2):
        write_noise(folder / f"{number}.wav", 1.0)
    lines = [f"{n}.wav\t{1 + n % 7 / 3!r}\ts{n % 5}\t{('train', 'val')[n % 4 == 0]}\n" for n in range(rows)]
    path = folder / name
    path.write_text("path\tseconds\tspeaker\tsplit\n" + "".join(lines))
    return path


def lists(path: Path) -> list[Path]:
    """The folders of columns beside a manifest."""
    return sorted(found.parent for found in path.parent.glob(f".{path.name}.clips/*/list.json"))


def parsed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one at each parse of a manifest."""
    calls: list[int] = []
    entries = manifest.entries
    monkeypatch.setattr(manifest, "entries", lambda *given: calls.append(1) or entries(*given))
    return calls


@pytest.mark.usefixtures("few")
def test_any_clip_is_what_was_written() -> None:
    clips = odd_clips()
    columns = listed(iter(clips))
    assert isinstance(columns, ClipList) and len(columns) == len(clips)
    assert list(columns) == clips and [columns[n] for n in range(-7, 7)] == clips + clips
    assert columns == clips and columns != clips[:-1] and columns[::2] == clips[::2] and columns[-2:] == clips[-2:]
    assert pickle.loads(pickle.dumps(columns)) == clips
    with pytest.raises(IndexError):
        columns[7]
    plain = listed(clip._replace(start=None, id=f"y{clip.path}") for clip in clips[:1] * 9)
    assert list(plain) == [Clip("/corpus/a/1.wav", "y/corpus/a/1.wav", 1.5, "ann")] * 9
    assert not list(plain.folder.glob("ids*")) and not list(plain.folder.glob("starts*"))  # type: ignore[attr-defined]


def test_every_field_of_a_clip_has_a_column() -> None:
    """A new field of `Clip` has to be added to `ClipList`; with its VERSION raised where old lists are wrong."""
    assert Clip._fields == ("path", "id", "seconds", "speaker", "start", "text")


@pytest.mark.usefixtures("few")
def test_many_speakers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.sources.columns.clip_list.NAMES", 3)
    clips = [Clip(f"{n}", f"{n}", 1.0, f"s{n * n % 11}") for n in range(40)]
    assert list(listed(clips)) == clips


@pytest.mark.usefixtures("few")
def test_views_of_columns_are_views_of_the_clips() -> None:
    clips = [Clip(f"{n}.wav", f"{n}.wav", float(n)) for n in range(20)]
    columns = listed(clips)
    both = joined([columns, clips, columns])
    assert (
        list(both) == clips * 3 and [both[n] for n in range(-60, 60)] == clips * 6 and both[15:45] == (clips * 3)[15:45]
    )
    assert spread_clips(columns, 7) == spread_clips(clips, 7) and spread_clips(columns, 50) is columns
    assert unique_clips(columns) is columns and joined([clips, clips]) == clips * 2
    with pytest.raises(DataError, match=r"20 clip ids occur twice, such as '0\.wav'"):
        unique_clips(both)


@pytest.mark.usefixtures("few")
def test_ids_are_compared_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = long_manifest(tmp_path)
    unique_clips(ManifestSource(str(path)).clips())
    clips = ManifestSource(str(path)).clips()
    with monkeypatch.context() as patch:
        patch.setattr(ClipList, "__iter__", None)
        unique_clips(clips)
    with pytest.raises(DataError, match="12 clip ids occur twice"):
        unique_clips(joined([clips, clips]))


@pytest.mark.usefixtures("few")
def test_second_start_reads_no_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = long_manifest(tmp_path)
    calls = parsed(monkeypatch)
    for number, options in enumerate(
        ({}, {"name": "x"}, {"split": "train"}, {"root": f"{tmp_path}/../{tmp_path.name}"})
    ):
        source = ManifestSource(str(path), **options)
        first = source.clips()
        assert source.clips() == first and len(calls) == 2 * number + 1
        assert list(first) == list(source.iter_clips())
    assert len(lists(path)) == 4


@pytest.mark.usefixtures("few")
def test_short_list_of_a_large_manifest_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = long_manifest(tmp_path)
    assert isinstance(ManifestSource(str(path), "val").clips(), list) and not lists(path)  # 3 clips of a small file
    monkeypatch.setattr(cache, "SMALL", 20)
    calls = parsed(monkeypatch)
    first, second = (ManifestSource(str(path), "val").clips() for _ in range(2))
    assert isinstance(second, list) and first == second and len(calls) == 1 and len(lists(path)) == 1


def test_small_manifest_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = long_manifest(tmp_path)
    assert isinstance(ManifestSource(str(path)).clips(), list)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["0.wav", "1.wav", "long.tsv"]


def settle(path: Path) -> None:
    """As if the manifest had been changed long before it was read."""
    for note in path.parent.glob(f".{path.name}.clips/*.json"):
        note.write_text(json.dumps({**json.loads(note.read_text()), "trusted": True}))


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("settled", [True, False])
def test_manifest_that_has_changed_is_read_again(tmp_path: Path, settled: bool) -> None:
    path = long_manifest(tmp_path)
    ManifestSource(str(path)).clips()
    stat, old = path.stat(), lists(path)
    if settled:
        settle(path)
    path.write_text(path.read_text().replace("5.wav", "9.wav"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert path.stat().st_size == stat.st_size and path.stat().st_mtime_ns == stat.st_mtime_ns
    assert [clip.id for clip in ManifestSource(str(path)).clips()].count("9.wav") == 2
    assert len(lists(path)) == 1 and lists(path) != old  # the old list is removed


@pytest.mark.usefixtures("few")
def test_manifest_that_was_only_touched_or_copied_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = long_manifest(tmp_path)
    ManifestSource(str(path)).clips()
    settle(path)
    calls = parsed(monkeypatch)
    path.touch()
    ManifestSource(str(path)).clips()
    assert not calls
    settle(path)
    monkeypatch.setattr(origin.LocalFiles, "contents", None)  # nor are its contents hashed, once that is noted
    ManifestSource(str(path)).clips()
    assert not calls


@pytest.mark.usefixtures("few")
def test_old_list_is_kept_while_it_is_in_use(tmp_path: Path) -> None:
    path = long_manifest(tmp_path)
    old = ManifestSource(str(path)).clips()
    expected = list(old)
    long_manifest(tmp_path, 13)
    assert len(ManifestSource(str(path)).clips()) == 13 and len(lists(path)) == 2
    assert pickle.loads(pickle.dumps(old)) == expected  # a data worker that starts now
    del old
    long_manifest(tmp_path, 14)
    ManifestSource(str(path)).clips()
    assert len(lists(path)) == 1
    long_manifest(tmp_path, 2)
    ManifestSource(str(path)).clips()
    assert not (tmp_path / ".long.tsv.clips").exists()


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "cut": lambda folder: os.truncate(folder / "seconds.npy", 130),
    "changed": lambda folder: (folder / "paths.npy").write_bytes((folder / "paths.npy").read_bytes()[:-1] + b"X"),
    "gone": lambda folder: (folder / "speakers.npy").unlink(),
    "no summary": lambda folder: (folder / "list.json").unlink(),
    "odd summary": lambda folder: (folder / "list.json").write_text("[]"),
    "old": lambda folder: (folder / "list.json").write_text('{"version": 0}'),
    "empty": lambda folder: [file.unlink() for file in folder.iterdir()],
    "a file": lambda folder: (shutil.rmtree(folder), folder.touch()),
    "odd note": lambda folder: next(folder.parent.glob("*-*/../*.json")).write_text("{"),
    "odd values": lambda folder: next(folder.parent.glob("*-*/../*.json")).write_text('{"files": 3}'),
}


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_list_is_made_again(tmp_path: Path, damage: str) -> None:
    path = long_manifest(tmp_path)
    expected = list(ManifestSource(str(path)).clips())
    DAMAGE[damage](lists(path)[0])
    for _ in range(2):
        assert list(ManifestSource(str(path)).clips()) == expected
        assert len(lists(path)) == 1


@pytest.mark.usefixtures("few")
def test_mistakes_of_a_long_manifest_leave_nothing(tmp_path: Path) -> None:
    path = long_manifest(tmp_path)
    path.write_text(path.read_text() + "\tx\n")
    with pytest.raises(DataError, match="line 14 has no path"):
        ManifestSource(str(path)).clips()
    with pytest.raises(DataError, match="has no split 'dev': choose from train, val"):
        ManifestSource(str(long_manifest(tmp_path)), "dev").clips()
    assert not (tmp_path / ".long.tsv.clips").exists()


@pytest.mark.usefixtures("few")
def test_manifest_that_grows_while_it_is_read(tmp_path: Path) -> None:
    path = long_manifest(tmp_path)

    def parse() -> Iterator[Clip]:
        for number in range(9):
            yield Clip(f"{number}", f"{number}")
        path.write_text(path.read_text() + "x")

    assert len(cached_clips(origin.LocalFiles([path]), parse, options=())) == 9
    assert not lists(path)


@pytest.mark.usefixtures("few")
def test_elsewhere_where_the_folder_is_not_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = long_manifest(tmp_path)
    expected = list(ManifestSource(str(path)).iter_clips())
    made = Path.mkdir

    def mkdir(self: Path, *arguments: Any, **options: Any) -> None:
        if self.is_relative_to(tmp_path) and not self.is_relative_to(writable):
            raise OSError(30, "Read-only file system")
        made(self, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    writable = tmp_path / "cache"
    calls = parsed(monkeypatch)
    for _ in range(2):
        clips = ManifestSource(str(path)).clips()
        assert clips == expected and clips.folder.is_relative_to(writable)  # type: ignore[attr-defined]
    assert len(calls) == 1 and not caplog.text
    writable = tmp_path / "nowhere"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    clips = ManifestSource(str(path)).clips()
    assert clips == expected and len(calls) == 2 and caplog.text.count("no folder keeps its columns") == 1
    folder = clips.folder  # type: ignore[attr-defined]
    assert folder.is_dir()
    del clips
    assert not folder.exists()


@pytest.mark.usefixtures("few")
def test_full_disk_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "write_clips", full)
    with pytest.raises(DataError, match=r"long.tsv is too long for the room in .* \(No space left on device\): make"):
        ManifestSource(str(long_manifest(tmp_path))).clips()
    assert not (tmp_path / ".long.tsv.clips").exists()


def in_forks(work: Callable[[], Any], count: int = 1) -> list[Any]:
    """What `work` returns in processes that begin it together."""
    context = multiprocessing.get_context("fork")
    gate, said = context.Barrier(count), context.SimpleQueue()

    def run() -> None:
        gate.wait()
        said.put(work())

    processes = [context.Process(target=run) for _ in range(count)]
    for process in processes:
        process.start()
    results = [said.get() for _ in processes]
    for process in processes:
        process.join()
    return results


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return long_manifest(tmp_path_factory.mktemp("large"), ROWS)


def test_processes_that_start_at_once_share_one_list(large: Path) -> None:
    shutil.rmtree(large.parent / f".{large.name}.clips", ignore_errors=True)

    def start() -> tuple[int, str, str]:
        clips = ManifestSource(str(large)).clips()
        return len(clips), clips[30_000].id, str(clips.folder)  # type: ignore[attr-defined]

    assert in_forks(start, 3) == [(ROWS, "30000.wav", str(lists(large)[0]))] * 3
    assert not list(large.parent.glob(".long.tsv.clips/.*"))


@pytest.mark.usefixtures("few")
def test_training_draws_the_crops_of_the_plain_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.data.test_datamodule import batches

    for number in range(9):
        write_noise(tmp_path / f"{number}.wav", 0.5 + number / 7)
    rows = "".join(f"{n}.wav\t{'' if n % 2 else 0.5 + n / 7}\n" for n in range(9))
    (tmp_path / "m.tsv").write_text(f"path\tseconds\n{rows}")

    def first(workers: int) -> list[Any]:
        source = ManifestSource(str(tmp_path / "m.tsv"))
        module = SpeechDataModule([source, source], weights=[1, 3], crop_seconds=0.2, batch_size=4, num_workers=workers)
        return [batch["audio"] for batch in batches(module, 5)]

    columns = [first(0), first(2)]
    monkeypatch.setattr(cache, "SHORT", 100)
    (tmp_path / ".m.tsv.clips").rename(tmp_path / "away")
    for other in columns:
        assert all(np.array_equal(a, b) for a, b in zip(first(0), other, strict=True))


@pytest.mark.usefixtures("few")
def test_lengths_from_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 9):
        write_noise(tmp_path / f"{number}.wav", number / 10)
    rows = "".join(f"{n}.wav\t{9 if n == 3 else ''}\n" for n in range(1, 11))  # two files are missing
    (tmp_path / "m.tsv").write_text(f"path\tseconds\n{rows}")
    expected = [0.1, 0.2, 9.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.0, 0.0]
    read: list[str] = []
    probe = checks.probe
    monkeypatch.setattr(checks, "probe", lambda path, *rest: read.append(Path(path).stem) or probe(path, *rest))

    def lengths() -> tuple[list[float], list[str], int]:
        read.clear()
        bad_files = BadFiles()
        found = clip_seconds(ManifestSource(str(tmp_path / "m.tsv")).clips(), bad_files, strict=False)
        return np.asarray(found).round(4).tolist(), sorted(read, key=int), len(bad_files)

    assert lengths() == (expected, ["1", "2", *"45678", "9", "10"], 2)
    assert lengths() == (expected, ["9", "10"], 2)
    write_noise(tmp_path / "9.wav", 0.9)
    assert lengths() == ([*expected[:8], 0.9, 0.0], ["9", "10"], 1)
    (column,) = tmp_path.glob(".m.tsv.clips/*/measured.npy")
    os.truncate(column, 150)
    assert lengths() == ([*expected[:8], 0.9, 0.0], ["1", "2", *"45678", "9", "10"], 1)
    with pytest.raises(AudioReadError, match=r"10\.wav"):
        clip_seconds(ManifestSource(str(tmp_path / "m.tsv")).clips(), BadFiles(), strict=True)


@pytest.mark.usefixtures("few")
def test_folder_and_shards_of_many_clips_are_columns(tmp_path: Path) -> None:
    for number in range(5):
        write_noise(tmp_path / "in" / f"{number}.wav", 0.1)
    folder = FolderSource(str(tmp_path / "in"))
    pack(folder, tmp_path / "out")
    shards = ShardSource(str(tmp_path / "out"))
    for source in (folder, shards):
        clips = source.clips()
        assert isinstance(clips, ClipList) and [clip.id for clip in clips] == [f"{n}.wav" for n in range(5)]
    assert shards.clips() == clips and len(lists(tmp_path / "out" / "manifest.tsv")) == 1


@pytest.mark.usefixtures("few")
def test_manifest_in_object_storage_is_read_once_for_each_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_noise(tmp_path / "in" / f"{number}.wav", 0.1)
    pack(FolderSource(str(tmp_path / "in")), tmp_path / "out")
    storage = fsspec.filesystem("memory")
    lines = (tmp_path / "out" / "manifest.tsv").read_bytes().splitlines(keepends=True)
    read: list[str] = []
    cat_file = type(storage).cat_file
    monkeypatch.setattr(
        type(storage), "cat_file", lambda self, path, *a, **k: read.append(path) or cat_file(self, path, *a, **k)
    )
    try:
        for version, count in ((lines, 5), (lines[:-1], 4)):
            storage.pipe("/columns/manifest.tsv", b"".join(version))
            for _ in range(3):
                clips = ShardSource("memory://columns").clips()
                assert isinstance(clips, ClipList) and [clip.id for clip in clips] == [f"{n}.wav" for n in range(count)]
            del clips  # a list in use is not removed
        assert len(read) == 2 and len(list(tmp_path.glob("cache/**/list.json"))) == 1
        monkeypatch.setattr(origin, "REVISION_KEYS", ())  # a storage that tells the size only
        ShardSource("memory://columns").clips()
        assert len(read) == 3
    finally:
        storage.rm("/columns", recursive=True)


def private_bytes() -> int:
    """The memory of this process that no other shares and the kernel cannot take back."""
    rows = dict(line.split(":") for line in Path("/proc/self/smaps_rollup").read_text().splitlines()[1:])
    return 1024 * int(rows["Private_Dirty"].split()[0])


def test_second_start_takes_little_private_memory(large: Path, tmp_path: Path) -> None:
    """Less than 5 MB, most of it buffers that do not grow with the list; as a list the clips take 22 MB."""
    small = long_manifest(tmp_path, 12_000)
    for path in (small, large):
        ManifestSource(str(path)).clips()

    def growth(path: Path) -> int:
        before = private_bytes()
        clips = ManifestSource(str(path)).clips()
        table = ClipTable([clip_seconds(clips, BadFiles(), strict=True)])
        assert sum(len(clips[table.choose(n / 5000)].id) for n in range(5000)) > 5000
        return private_bytes() - before

    (grown,) = in_forks(lambda: (growth(small), growth(large))[1])
    assert grown < 100 * ROWS, grown


def test_draws_are_those_of_the_plain_list(large: Path) -> None:
    columns = ManifestSource(str(large)).clips()
    clips = list(ManifestSource(str(large)).iter_clips())
    assert len(columns) == ROWS > 6 * CHUNK and list(columns) == clips
    tables = [ClipTable([clip_seconds(c, BadFiles(), strict=True)] * 2, [1.0, 2.0]) for c in (columns, clips)]
    for index in range(1000):
        uniform = draw_uniforms(0, index, 0).clip
        assert tables[0].choose(uniform) == tables[1].choose(uniform)
    assert len(pickle.dumps((columns, tables[0]))) < 5000
