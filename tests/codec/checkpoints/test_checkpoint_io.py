"""Checkpoint files: complete or not at all, damage of any byte found, the newest undamaged one chosen."""

import errno
import gc
import os
import resource
import signal
import sys
import zlib

import pytest
import torch

from codec.checkpoints import files
from codec.checkpoints.files import FORMAT_VERSION, SafeCheckpointIO, find_damage, link, remove_partial
from codec.checkpoints.reading import newest_checkpoint, read_checkpoint
from codec.errors import UnreadableFile

CONTENT = {"state_dict": {"a": torch.arange(6.0), "b": torch.ones(2, 3)}, "list": [1, 2.5, "text", None]}


def save(path, batch=0, *, resumable=True):
    extra = {"optimizer_states": []} if resumable else {}
    SafeCheckpointIO().save_checkpoint({"state_dict": {}, "global_step": batch, "pad": torch.ones(500), **extra}, path)
    return path


def damaged(path):
    """Turn one bit of a tensor's bytes, where no reader stumbles."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.ones(500).numpy().tobytes()) + 100] ^= 1
    path.unlink()  # a link to it keeps the content of before
    path.write_bytes(content)
    return path


def equal(one, other):
    return one["list"] == other["list"] and all(
        torch.equal(v, other["state_dict"][k]) for k, v in one["state_dict"].items()
    )


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "new" / "folder" / "a.ckpt"
    SafeCheckpointIO().save_checkpoint(CONTENT, path)
    assert find_damage(path) is None
    assert equal(CONTENT, SafeCheckpointIO().load_checkpoint(path, weights_only=True))
    assert [p.name for p in path.parent.iterdir()] == ["a.ckpt"]


def test_no_flipped_byte_passes_unnoticed(tmp_path):
    """A file with one byte changed is refused, or holds the same: the byte was padding."""
    path = tmp_path / "a.ckpt"
    torch.save(CONTENT, path)
    whole, refused = path.read_bytes(), 0
    for position in range(0, len(whole), 5):
        changed = bytearray(whole)
        changed[position] ^= 0x10
        path.write_bytes(changed)
        try:
            assert equal(CONTENT, read_checkpoint(path)), position
        except ValueError as error:
            assert "is damaged" in str(error)
            refused += 1
    assert refused > len(whole) / 5 * 0.4


def test_a_changed_weight_is_found_by_the_checksum_alone(tmp_path):
    path = damaged(save(tmp_path / "a.ckpt"))
    changed = torch.load(path, weights_only=True)["pad"]  # PyTorch itself does not look
    assert not torch.equal(changed, torch.ones(500))
    with pytest.raises(ValueError, match=r"a\.ckpt is damaged \(the checksum of .* does not match\)"):
        SafeCheckpointIO().load_checkpoint(path)
    with pytest.raises(ValueError, match=r"a\.ckpt is damaged \(the checksum"):
        read_checkpoint(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    path = tmp_path / "a.ckpt"
    torch.save(CONTENT, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 11):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="is damaged"):
            read_checkpoint(path)


def test_files_without_checksums_are_read(tmp_path):
    torch.save(CONTENT, tmp_path / "old.ckpt", _use_new_zipfile_serialization=False)
    assert find_damage(tmp_path / "old.ckpt") is None
    assert equal(CONTENT, SafeCheckpointIO().load_checkpoint(tmp_path / "old.ckpt"))


def test_a_failed_write_leaves_the_file_of_before_and_nothing_else(tmp_path, monkeypatch):
    path = save(tmp_path / "a.ckpt", 1)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        save(path, 2)
    assert read_checkpoint(path)["global_step"] == 1
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_disk_before_the_name_and_the_name_before_return(tmp_path, monkeypatch):
    calls = []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda f: calls.append(os.readlink(f"/proc/self/fd/{f}")) or sync(f))
    monkeypatch.setattr(os, "replace", lambda a, b: calls.append("rename") or rename(a, b))
    save(tmp_path / "a.ckpt")
    assert calls == [str(tmp_path / "a.ckpt.partial"), "rename", str(tmp_path)]


def test_a_newer_format_is_refused(tmp_path):
    known = {**CONTENT, "format_version": FORMAT_VERSION}
    torch.save(known, tmp_path / "known.ckpt")
    assert equal(known, read_checkpoint(tmp_path / "known.ckpt"))
    for version in (FORMAT_VERSION + 1, "2"):
        torch.save({**CONTENT, "format_version": version}, tmp_path / "newer.ckpt")
        with pytest.raises(UnreadableFile, match=r"newer\.ckpt is of a newer format.*install a newer version"):
            read_checkpoint(tmp_path / "newer.ckpt")


def test_a_kept_checkpoint_is_handed_over_once(tmp_path, reads):
    path = save(tmp_path / "a.ckpt", 3)
    assert read_checkpoint(path, keep=True)["global_step"] == 3
    assert SafeCheckpointIO().load_checkpoint(path)["global_step"] == 3
    assert reads == ["checksums", "load"]
    assert SafeCheckpointIO().load_checkpoint(path)["global_step"] == 3
    assert reads == ["checksums", "load"] * 2


def test_a_kept_checkpoint_is_read_again_where_the_file_is_another(tmp_path, reads):
    path, other = save(tmp_path / "a.ckpt", 3), save(tmp_path / "b.ckpt", 4)
    read_checkpoint(path, keep=True)
    assert SafeCheckpointIO().load_checkpoint(other)["global_step"] == 4
    save(path, 5)
    assert SafeCheckpointIO().load_checkpoint(path)["global_step"] == 5
    read_checkpoint(path, check=False, keep=True)  # not kept: its bytes have not been checked
    damaged(path)
    with pytest.raises(UnreadableFile, match="is damaged"):
        SafeCheckpointIO().load_checkpoint(path)
    assert reads.count("checksums") == 4


def test_handed_over_tensors_do_not_depend_on_the_file(tmp_path):
    path = save(tmp_path / "a.ckpt")
    read_checkpoint(path, keep=True)
    checkpoint = SafeCheckpointIO().load_checkpoint(path)
    path.write_bytes(bytes(path.stat().st_size))  # in place: mapped memory would change
    assert torch.equal(checkpoint["pad"], torch.ones(500))
    assert not files._kept


@pytest.fixture
def reads(monkeypatch):
    """What is done with files' bytes, in order: "checksums" or "load"."""
    done = []
    check, load = files.find_damage, torch.load
    monkeypatch.setattr(files, "_kept", [])
    monkeypatch.setattr(files, "find_damage", lambda path: done.append("checksums") or check(path))
    monkeypatch.setattr(torch, "load", lambda *a, **k: done.append("load") or load(*a, **k))
    return done


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_and_its_replacement(tmp_path, monkeypatch, links):
    one, two, last = save(tmp_path / "1.ckpt", 1), save(tmp_path / "2.ckpt", 2), tmp_path / "last.ckpt"
    if not links:

        def refuse(source, target):
            raise OSError(errno.EPERM, "no links here")

        monkeypatch.setattr(os, "link", refuse)
    for source in (one, two, two):
        link(source, last)
        assert zlib.crc32(last.read_bytes()) == zlib.crc32(source.read_bytes())
        assert last.samefile(source) == links
    assert sorted(p.name for p in tmp_path.iterdir()) == ["1.ckpt", "2.ckpt", "last.ckpt"]


def test_leftovers_are_removed(tmp_path):
    kept = save(tmp_path / "a.ckpt")
    (tmp_path / "last.ckpt.partial").write_bytes(b"half")
    assert remove_partial(tmp_path) == ["last.ckpt.partial"]
    assert list(tmp_path.iterdir()) == [kept]
    assert remove_partial(tmp_path / "nowhere") == []


def test_the_newest_is_the_last_whatever_the_dates(tmp_path):
    for batch in (100, 20):
        save(tmp_path / f"batch={batch}.ckpt", batch)
    link(tmp_path / "batch=100.ckpt", tmp_path / "last.ckpt")
    os.utime(tmp_path / "last.ckpt", (1, 1))
    assert newest_checkpoint(tmp_path, resumable=True).name == "last.ckpt"
    (tmp_path / "last.ckpt").unlink()
    assert newest_checkpoint(tmp_path, resumable=True).name == "batch=100.ckpt"
    assert newest_checkpoint(tmp_path / "nowhere", resumable=True) is None


def test_names_of_one_batch_come_in_one_order(tmp_path):
    for name in ("best", "batch=2", "good", "best-1", "other", "copy"):
        save(tmp_path / f"{name}.ckpt", 2)
    assert newest_checkpoint(tmp_path, resumable=True).name == "batch=2.ckpt"
    (tmp_path / "batch=2.ckpt").unlink()
    assert newest_checkpoint(tmp_path, resumable=True).name == "best-1.ckpt"


def test_of_several_last_ones_the_latest_written_counts(tmp_path):
    for number, name in enumerate(("last-v1.ckpt", "last.ckpt")):
        os.utime(save(tmp_path / name, 100 - number), (number, number))
    assert newest_checkpoint(tmp_path, resumable=True).name == "last.ckpt"


def test_damaged_ones_are_passed_over_with_a_warning_each(tmp_path):
    for batch in (10, 20, 30):
        save(tmp_path / f"batch={batch}.ckpt", batch)
    link(tmp_path / "batch=30.ckpt", tmp_path / "last.ckpt")
    damaged(tmp_path / "last.ckpt")
    (tmp_path / "batch=30.ckpt").write_bytes((tmp_path / "batch=30.ckpt").read_bytes()[:1000])
    with pytest.warns(UserWarning) as warned:
        assert newest_checkpoint(tmp_path, resumable=True).name == "batch=20.ckpt"
    first = str(warned[0].message)
    assert "last.ckpt is damaged (the checksum of" in first
    assert first.endswith(": passed over for batch=20.ckpt.")
    assert len(warned) == 1  # the one that cannot be opened at all comes after all that can


def test_nothing_good_is_a_fresh_start_that_says_why(tmp_path):
    damaged(save(tmp_path / "last.ckpt"))
    with pytest.warns(UserWarning, match=r"last\.ckpt is damaged .* passed over for a fresh start\.$"):
        assert newest_checkpoint(tmp_path, resumable=True) is None


def test_weights_alone_are_no_state_to_go_on_from(tmp_path):
    save(tmp_path / "last.ckpt", 2, resumable=False)
    save(tmp_path / "batch=1.ckpt", 1)
    assert newest_checkpoint(tmp_path, resumable=False).name == "last.ckpt"
    with pytest.warns(UserWarning, match=r"last\.ckpt holds weights alone: passed over for batch=1\.ckpt"):
        assert newest_checkpoint(tmp_path, resumable=True).name == "batch=1.ckpt"


@pytest.mark.parametrize("room", [0, 1000, 100_000])
def test_a_write_without_room_gives_the_file_systems_error_and_leaves_no_other(tmp_path, monkeypatch, room):
    """At any place of the file; what a writer or a buffer says while unwinding is neither raised nor printed."""
    left = []
    monkeypatch.setattr(sys, "unraisablehook", left.append)
    path = save(tmp_path / "a.ckpt")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(OSError) as failed:
            SafeCheckpointIO().save_checkpoint({"state_dict": {"a": torch.ones(100_000)}}, path)
        failed = failed.value
        assert failed.errno == errno.EFBIG
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    del failed
    gc.collect()
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["a.ckpt"]
    assert [str(each.exc_value) for each in left] == []


@pytest.mark.parametrize("kind", [RuntimeError, BufferError, SystemError])
def test_the_file_systems_error_is_found_behind_any_other(tmp_path, monkeypatch, kind):
    def write(*_):
        try:
            try:
                raise OSError(errno.ENOSPC, "No space left on device")
            finally:
                raise ValueError("while closing")
        finally:
            raise kind("Existing exports of data: object cannot be re-sized")

    monkeypatch.setattr(torch, "save", write)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path / "a.ckpt")
