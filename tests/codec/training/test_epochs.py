"""Epochs of an endless stream: limits, validations and repeated batches are those that the Trainer's options name."""

from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping

from codec import UserError
from codec.training.epochs import ENDLESS, Limits, count_epochs_in_batches, epoch_batches, in_batches
from data import FolderSource, SpeechDataModule
from tests.support.training import quiet_trainer, tiny_module


class Record(L.Callback):
    """What each batch held, after which batches validations came, and how many clips each had."""

    def __init__(self) -> None:
        self.batches: list[float] = []
        self.validations: list[int] = []
        self.clips = 0

    def on_train_batch_start(self, trainer: L.Trainer, module: L.LightningModule, batch: Any, number: int) -> None:
        self.batches.append(float(batch["audio"].double().abs().sum()))

    def on_validation_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.validations.append(trainer.global_step)

    def on_validation_batch_end(self, *_: Any) -> None:
        self.clips += 1


def corpus(speech: Path, **options: Any) -> SpeechDataModule:
    """Batches of 2 s from 7.5 s of speech, six clips."""
    sources = FolderSource(str(speech)), FolderSource(str(speech))
    settings = {"hop_length": 160, "crop_seconds": 0.5, "batch_size": 4, "num_workers": 0}
    return SpeechDataModule(*sources, **(settings | options))


def fit(speech: Path, *, ckpt_path: str | None = None, save: Path | None = None, **options: Any) -> Record:
    """A short training, its validations kept, as `options` of the Trainer ask for."""
    record = Record()
    callbacks = [record, *options.pop("callbacks", [])]
    limits = {"max_epochs": None, "limit_val_batches": 1.0, "num_sanity_val_steps": 0} | options
    trainer = quiet_trainer(**limits, callbacks=callbacks)
    trainer.fit(tiny_module(discriminator_start=1000), corpus(speech), ckpt_path=ckpt_path)
    if save is not None:
        trainer.save_checkpoint(save)
    return record


def test_an_epoch_holds_as_many_seconds_as_the_corpus(speech: Path) -> None:
    data = corpus(speech)
    data.setup("fit")
    length = data.epoch_length()
    assert length.batches == 4 and length.batch_seconds == 2.0
    assert 7 < length.seconds <= 8


@pytest.mark.parametrize(
    ("options", "validations", "batches"),
    [
        ({"max_epochs": 2}, [4, 8], 8),
        ({"max_epochs": 2, "max_steps": 5}, [4], 5),
        ({"max_epochs": 1, "val_check_interval": 0.5}, [2, 4], 4),
        ({"max_epochs": 4, "limit_train_batches": 1, "check_val_every_n_epoch": 2}, [2, 4], 4),
        ({"max_epochs": 3, "limit_train_batches": 0.5}, [2, 4, 6], 6),
        ({"max_steps": 7, "val_check_interval": 3}, [3, 6], 7),
        ({"max_epochs": 1, "val_check_interval": "00:12:00:00"}, [], 4),
        ({"max_epochs": 1, "overfit_batches": 3}, [3], 3),
    ],
)
def test_options_about_epochs_count_epochs(
    speech: Path, options: dict[str, Any], validations: list[int], batches: int
) -> None:
    record = fit(speech, **options)
    assert record.validations == validations
    assert len(record.batches) == batches


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_epochs": 0}, "max_epochs is 0"),
        ({"max_steps": 0}, "max_epochs is 0"),
        ({"max_steps": 3, "limit_train_batches": 0}, "limit_train_batches is 0"),
        ({"max_steps": 1, "max_epochs": None}, "Training ends after 1 batch, 0.25 epochs."),
        ({"max_epochs": 2, "limit_train_batches": 1}, "of which 1 is used. Training ends after 2 batches, 2 epochs."),
    ],
)
def test_the_sentence_about_epochs(speech: Path, options: dict[str, Any], said: str) -> None:
    data = corpus(speech)
    data.setup("fit")
    trainer = quiet_trainer(**({"max_epochs": None} | options))
    sentence = count_epochs_in_batches(trainer, data.epoch_length())
    assert said in sentence and "no end" not in sentence


def test_a_whole_number_of_epochs_is_the_least(speech: Path) -> None:
    """Early stopping asks for an end at the first validation."""
    never_better = EarlyStopping("val/mel", patience=1, min_delta=1e9)
    ended = fit(speech, max_epochs=3, min_epochs=2, val_check_interval=0.5, callbacks=[never_better])
    assert len(ended.batches) == 8


@pytest.mark.parametrize(("overfit", "repeated"), [(1, 1), (3, 3), (0.5, 2)])
def test_overfitting_repeats_the_first_batches(speech: Path, overfit: int | float, repeated: int) -> None:
    first = fit(speech, max_steps=repeated).batches
    record = fit(speech, max_steps=7, overfit_batches=overfit)
    assert len(set(first)) == repeated
    assert record.batches == [first[number % repeated] for number in range(7)]


def test_overfitting_goes_on_with_the_same_batches_after_a_checkpoint(speech: Path, tmp_path: Path) -> None:
    whole = fit(speech, max_steps=6, overfit_batches=3).batches
    fit(speech, max_steps=4, overfit_batches=3, save=tmp_path / "at4.ckpt")
    assert fit(speech, max_steps=6, overfit_batches=3, ckpt_path=str(tmp_path / "at4.ckpt")).batches == whole[4:]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_ranks_repeat_parts_of_the_same_batches(speech: Path, ranks: int) -> None:
    from tests.data.test_datamodule import place

    together = []
    for rank in range(ranks):
        data = corpus(speech, batch_size=6 // ranks)
        place(data, rank, ranks)
        data.trainer.overfit_batches = 2  # type: ignore[union-attr]
        data.setup("fit")
        stream = iter(data.train_dataloader())
        together.append([next(stream)["audio"] for _ in range(5)])
    joint = [torch.cat(parts) for parts in zip(*together, strict=True)]
    assert all(torch.equal(joint[number], joint[number % 2]) for number in range(5))
    single = corpus(speech, batch_size=6)
    single.setup("fit")
    assert all(
        torch.equal(mine, batch["audio"]) for mine, batch in zip(joint[:2], single.train_dataloader(), strict=False)
    )


def test_overfitting_validates_as_many_clips(speech: Path) -> None:
    assert fit(speech, max_epochs=1, overfit_batches=2).clips == 2


def test_a_second_fit_counts_from_the_options_as_stated(speech: Path) -> None:
    trainer = quiet_trainer(max_epochs=1, limit_val_batches=0)
    module = tiny_module(discriminator_start=1000)
    trainer.fit(module, corpus(speech))
    assert trainer.global_step == 4
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module, corpus(speech))
    assert trainer.global_step == 8


def test_two_ways_to_say_when_to_validate_are_refused(speech: Path) -> None:
    with pytest.raises(UserError, match="check_val_every_n_epoch"):
        fit(speech, max_epochs=4, check_val_every_n_epoch=2, val_check_interval=3)


STATED = Limits(ENDLESS, None, 0, 1.0, 1.0, 1)


@pytest.mark.parametrize(
    ("stated", "max_epochs", "expected"),
    [
        (STATED, -1, Limits(ENDLESS, None, 0, 1.0, 10, None)),
        (STATED, 7, Limits(70, None, 0, 1.0, 10, None)),
        (STATED._replace(min_epochs=2, min_steps=5), 7, Limits(70, 20, 0, 1.0, 10, None)),
        (STATED._replace(val_check_interval=0.01), 7, Limits(70, None, 0, 1.0, 1, None)),
        (STATED._replace(val_check_interval=25, check_val_every_n_epoch=None), 7, Limits(70, None, 0, 1.0, 25, None)),
    ],
)
def test_options_in_batches(stated: Limits, max_epochs: int, expected: Limits) -> None:
    assert in_batches(stated, 10, max_epochs=max_epochs) == expected


@pytest.mark.parametrize(("limit", "batches"), [(1.0, 10), (0.55, 5), (0.001, 1), (0.0, 0), (0, 0), (3, 3), (99, 10)])
def test_limited_epochs(limit: int | float, batches: int) -> None:
    assert epoch_batches(10, limit) == batches
