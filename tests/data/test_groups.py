"""Clips of evaluations several at a time: padded, with lengths, in order; pieces and what cannot be read apart."""

from pathlib import Path
from typing import Any

import pytest
import torch

from data import DataError, FolderSource, SpeechDataModule
from tests.data.test_datamodule import place
from tests.data.test_pieces import predicted
from tests.support.speech import write_speech

SECONDS = [0.5, 1.1, 3.0, 0.7, 0.7, 0.31, 1.0]


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    return FolderSource(str(write_speech(tmp_path / "c", SECONDS)))


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("size", [2, 3, 100])
def test_clips_are_those_of_batches_of_one(source: FolderSource, size: int, workers: int) -> None:
    options: dict[str, Any] = {"output_sample_rate": 24_000, "loudness": -23.0}
    single = predicted(source, **options)
    batches = predicted(source, clips_per_batch=size, num_workers=workers, **options)
    assert [len(batch["id"]) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    found: list[dict[str, Any]] = []
    for batch in batches:
        for row in range(len(batch["id"])):
            one = {name: value[row : row + 1] for name, value in batch.items()}
            for wave, lengths in (("audio", "lengths"), ("target", "target_lengths")):
                end = one.pop(lengths, [one[wave].shape[-1]])[0]
                assert not one[wave][..., end:].any()
                one[wave] = one[wave][..., :end]
            found.append(one)
    assert [one["id"] for one in found] == [one["id"] for one in single]
    for one, wanted in zip(found, single, strict=True):
        assert one.keys() == wanted.keys()
        assert all(torch.equal(one[name], wanted[name]) for name in ("audio", "target", "gain_db"))


def test_pieces_of_long_clips_stand_alone(source: FolderSource) -> None:
    batches = predicted(source, piece_seconds=1.05, clips_per_batch=4)
    assert [batch["id"] for batch in batches] == [
        ["0.wav"], ["1.wav"], ["1.wav"], ["2.wav"], ["2.wav"], ["2.wav"], ["3.wav", "4.wav", "5.wav", "6.wav"],
    ]  # fmt: skip
    assert ["lengths" in batch for batch in batches] == [False] * 6 + [True]


@pytest.mark.parametrize("ranks", [2, 9])
def test_every_clip_once_on_any_number_of_ranks(source: FolderSource, ranks: int) -> None:
    ids: list[str] = []
    for rank in range(ranks):
        module = SpeechDataModule(predict_from=source, num_workers=0, clips_per_batch=3)
        place(module, rank, ranks)
        module.setup("predict")
        loader = module.predict_dataloader()
        if ranks > len(SECONDS):
            with pytest.raises(TypeError):
                len(loader)
        ids += [name for batch in loader for name in batch["id"]]
    assert sorted(ids) == [f"{number}.wav" for number in range(len(SECONDS))]


def test_a_file_that_breaks_leaves_its_group(source: FolderSource, tmp_path: Path, monkeypatch: Any) -> None:
    module = SpeechDataModule(predict_from=source, num_workers=0, clips_per_batch=3)
    module.setup("predict")
    (tmp_path / "c" / "1.wav").unlink()
    (tmp_path / "c" / "6.wav").unlink()
    batches = list(module.predict_dataloader())
    assert [batch["id"] for batch in batches] == [["0.wav", "2.wav"], ["3.wav", "4.wav", "5.wav"]]
    assert module.bad_file_count() == 2


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_long_clips_of_other_stages_stand_alone(source: FolderSource, stage: str) -> None:
    """By the length to which they are cut."""
    sources: dict[str, Any] = {"train": source, "val": source, "test": source}
    options: dict[str, Any] = {
        "clips_per_batch": 4,
        "piece_seconds": 1.05,
        "max_clip_seconds": 2.0,
        "crop_seconds": 0.2,
    }
    for seconds, wanted in ((None, ["0", "1", "2", "3 4 5 6"]), (1.01, ["0 1 2 3", "4 5 6"])):
        if stage != "fit" and seconds:
            options["max_clip_seconds"] = seconds
        module = SpeechDataModule(**sources, num_workers=0, val_seconds=seconds, **options)
        module.setup(stage)
        batches: Any = list(module.test_dataloader() if stage == "test" else module.val_dataloader())
        assert [" ".join(name.removesuffix(".wav") for name in batch["id"]) for batch in batches] == wanted
        assert [len(batch.get("lengths", [0])) for batch in batches] == [len(ids.split()) for ids in wanted]
        assert all(len(batch[name]) == len(batch["id"]) for batch in batches for name in ("path", "speaker", "text"))


def test_overfitting_validates_on_its_number_of_clips(source: FolderSource) -> None:
    module = SpeechDataModule(source, source, num_workers=0, clips_per_batch=3, crop_seconds=0.2)
    place(module, 0, 1)
    module.setup("fit")
    sizes = []
    for overfit in (0, 2):
        module.trainer.overfit_batches = overfit  # type: ignore[union-attr, method-assign]
        sizes.append([len(batch["id"]) for batch in module.val_dataloader()])
    assert sizes == [[3, 3, 1], [1] * 7]


def test_the_number_of_clips_is_checked(source: FolderSource) -> None:
    with pytest.raises(DataError, match="clips_per_batch"):
        SpeechDataModule(predict_from=source, clips_per_batch=0)
