"""Segments of long files: crops and evaluation clips come from inside them, in memory and in shards too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from data import AudioReadError, AudioSource, Clip, ShardSource, SpeechDataModule
from data.audio.decoded import DecodedClips
from data.audio.files import Segment
from data.audio.reading import check_readable, probe, read_crop, read_whole
from data.prepare import FLAC, Recipe, pack
from tests.data.shards.test_shards import same
from tests.data.test_datamodule import batches

Write = Callable[..., Path]
RATE = 16000


class Listed(AudioSource):
    """A source of given clips."""

    def __init__(self, *clips: Clip) -> None:
        self._clips = list(clips)

    def clips(self) -> list[Clip]:
        return self._clips


@pytest.fixture
def long_file(write: Write) -> Path:
    return write("long.flac", 10.0)


def segments(path: Path, *times: tuple[float, float | None]) -> Listed:
    return Listed(*(Clip(str(path), f"{start}.flac", seconds, None, start) for start, seconds in times))


@pytest.mark.parametrize("rate", [RATE, 22050])
@pytest.mark.parametrize("rates", [(16000,), (16000, 24000)])
def test_segment_reads_as_a_file_of_its_frames(write: Write, tmp_path: Path, rate: int, rates: tuple[int, ...]) -> None:
    path, segment = write("long.flac", 5.0, rate=rate), Segment(1.7, 2.1)
    frames, _ = soundfile.read(path, start=round(1.7 * rate), frames=round(2.1 * rate), dtype="float32")
    soundfile.write(tmp_path / "cut.wav", frames, rate, subtype="FLOAT")
    assert probe(path, segment) == probe(tmp_path / "cut.wav")
    assert check_readable(path, segment=segment) == check_readable(tmp_path / "cut.wav")
    for ours, theirs in zip(
        read_whole(path, rates, segment=segment), read_whole(tmp_path / "cut.wav", rates), strict=True
    ):
        assert torch.equal(ours, theirs)
    for position in (0.0, 0.4, 1 - 1e-9):
        crop = read_crop(path, 8000, rates=rates, position=position, segment=segment)
        expected = read_crop(tmp_path / "cut.wav", 8000, rates=rates, position=position)
        assert crop[1:] == expected[1:] and all(map(torch.equal, crop.waves, expected.waves))


@pytest.mark.parametrize("in_memory", [False, True])
def test_crops_come_from_inside_the_segment(tmp_path: Path, in_memory: bool) -> None:
    samples = np.concatenate([np.full(RATE, 0.1), np.full(RATE, 0.2), np.full(RATE, 0.4)])
    soundfile.write(tmp_path / "steps.wav", samples, RATE, subtype="FLOAT")
    source = segments(tmp_path / "steps.wav", (1.0, 1.0))
    module = SpeechDataModule(source, crop_seconds=0.2, num_workers=0, in_memory=in_memory)
    for batch in batches(module, 5):
        torch.testing.assert_close(batch["audio"], torch.full((8, 1, 3200), 0.2))


def test_in_memory_draws_what_seeking_draws(long_file: Path) -> None:
    source = segments(long_file, (8.0, None), (0.5, 1.25), (3.0, 2.0))
    modules = [SpeechDataModule(source, crop_seconds=0.2, num_workers=0, in_memory=flag) for flag in (False, True)]
    assert same(*(batches(module, 6) for module in modules))


def test_a_file_is_opened_once_for_all_its_segments(long_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = soundfile.SoundFile.__init__
    monkeypatch.setattr(soundfile.SoundFile, "__init__", lambda *a, **k: opened.append(1) or real(*a, **k))
    clips = [(str(long_file), Segment(start / 4, 0.25)) for start in range(40)]
    held = DecodedClips(clips, 3200, rates=(RATE,), highpass_hz=None, max_bytes=1 << 30)
    assert len(opened) == 2  # for the header, and for the samples
    assert held.crop(39, 0.0) is not None


def test_evaluation_clip_is_exactly_the_segment(long_file: Path) -> None:
    module = SpeechDataModule(test=segments(long_file, (2.0, 1.5), (9.0, None)), num_workers=0)
    module.setup("test")
    first, last = module.test_dataloader()
    whole = read_whole(long_file, (RATE,))[0]
    assert torch.equal(first["audio"][0], whole[:, 32000:56000]) and first["id"] == ["2.0.flac"]
    assert torch.equal(last["audio"][0], whole[:, 144000:])


@pytest.mark.parametrize("times", [(10.5, 1.0), (9.5, 1.0), (10.0, None), (-1.0, 2.0)])
def test_segment_beyond_its_file_is_one_bad_file(long_file: Path, times: tuple[float, float | None]) -> None:
    source = segments(long_file, (2.0, 1.5), times)
    train = SpeechDataModule(source, crop_seconds=0.2, num_workers=0)
    batches(train, 20)
    test = SpeechDataModule(test=source, num_workers=0)
    test.setup("test")
    assert len(test.test_dataloader()) == 1
    for module in (train, test):
        ((name, reason),) = module.bad_file_reasons().items()
        assert name == f"{long_file} at {times[0]:g} s" and "not inside its file, which has 10.00 s" in reason
    with pytest.raises(AudioReadError, match="not inside its file"):
        SpeechDataModule(test=source, num_workers=0, strict=True).setup("test")


def test_rounded_end_of_a_segment_is_the_end_of_its_file(long_file: Path) -> None:
    assert check_readable(long_file, segment=Segment(9.0, 1.05)) == 1.0


def test_short_segments_are_named_each(long_file: Path) -> None:
    module = SpeechDataModule(segments(long_file, (2.0, 0.1), (3.0, 0.1)), crop_seconds=0.2, num_workers=0)
    batches(module, 4)
    assert list(module.bad_file_reasons()) == [f"{long_file} at {start} s" for start in (2, 3)]


@pytest.mark.parametrize(("channels", "subtype"), [(1, "PCM_16"), (2, "PCM_24"), (1, "FLOAT"), (9, "PCM_16")])
def test_packed_segments_read_the_same(write: Write, tmp_path: Path, channels: int, subtype: str) -> None:
    path = write("long.wav", 5.0, rate=22050, channels=channels, subtype=subtype)
    source = segments(path, (0.25, 1.5), (3.0, None))
    packed = pack(source, tmp_path / "packed", shard_bytes=path.stat().st_size // 2)
    assert (packed.clips, packed.shards, packed.bad) == (2, 2, {})
    options: Any = dict(crop_seconds=0.2, num_workers=0)
    shards = ShardSource(str(tmp_path / "packed"))
    assert [clip.seconds for clip in shards.clips()] == [1.5, 2.0]
    assert same(batches(SpeechDataModule(source, **options), 4), batches(SpeechDataModule(shards, **options), 4))
    pack(source, tmp_path / "flac", recipe=Recipe(FLAC, RATE))
    for clip, loose in zip(ShardSource(str(tmp_path / "flac")).clips(), source.clips(), strict=True):
        error = read_whole(clip.path, (RATE,))[0] - read_whole(path, (RATE,), segment=loose.segment)[0]
        assert error.abs().max() <= 2**-15


def test_other_segments_are_another_corpus(long_file: Path, tmp_path: Path) -> None:
    pack(segments(long_file, (1.0, 1.0)), tmp_path / "packed")
    moved = Listed(segments(long_file, (1.0, 1.0)).clips()[0]._replace(start=2.0))
    with pytest.raises(ValueError, match="holds another corpus"):
        pack(moved, tmp_path / "packed")
