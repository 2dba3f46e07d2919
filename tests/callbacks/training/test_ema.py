"""The average follows its formula, validates, is saved as the codec, and resumes bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from torch import Tensor

from callbacks.training.ema import CodecEMA
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.speech import speech_like

BATCHES = [clip(f"clip_{number}", speech_like(number, 0.2)[:3200]) for number in range(6)]


def new_module() -> CountingModule:
    torch.manual_seed(0)
    return CountingModule(tiny_codec())


def weights(module: LightningModule) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in module.codec.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class Record(Callback):
    """Weights after each training batch and during validation; saves at given moments."""

    def __init__(self, save: dict[str, Path] | None = None) -> None:
        self.raw: list[dict[str, Tensor]] = []
        self.validated: list[dict[str, Tensor]] = []
        self.save = save or {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.raw.append(weights(pl_module))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.validated.append(weights(pl_module))
        if "during validation" in self.save and not trainer.sanity_checking:
            trainer.save_checkpoint(self.save["during validation"])

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        for name, path in self.save.items():
            if name != "during validation":
                trainer.save_checkpoint(path, weights_only=name == "weights only")


class Save(Checkpoint):
    """Saves after one training batch, and is run last, as all checkpoint callbacks."""

    def __init__(self, path: Path, batch: int) -> None:
        self.path, self.batch = path, batch

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        if trainer.global_step == self.batch:
            trainer.save_checkpoint(self.path)


def fit(root: Path, callbacks: list[Callback], *, ckpt_path: Path | None = None, **options: Any) -> CountingModule:
    module = new_module()
    defaults = {"num_sanity_val_steps": 0, "enable_checkpointing": False, "max_steps": 6, "max_epochs": -1}
    runner = trainer(root, callbacks, **{**defaults, **options})
    runner.fit(module, loader(BATCHES), loader(BATCHES[:1]), ckpt_path=ckpt_path)
    return module


@pytest.mark.parametrize("warmup", [False, True])
def test_the_average_follows_its_formula(tmp_path: Path, warmup: bool) -> None:
    record = Record()
    before = weights(new_module())
    module = fit(tmp_path, [CodecEMA(0.9, warmup=warmup, start_batch=1, every_n_batches=2), record])
    expected = {name: tensor.double() for name, tensor in record.raw[0].items()}
    for update, batch in enumerate((1, 3, 5)):
        decay = min(0.9, (1 + update) / (10 + update)) if warmup else 0.9
        for name, tensor in expected.items():
            expected[name] = decay * tensor + (1 - decay) * record.raw[batch][name]
    assert all(torch.allclose(module.codec.state_dict()[name].double(), value, atol=1e-6)
               for name, value in expected.items())  # fmt: skip
    assert not equal(before, weights(module))


def test_validation_and_the_fitted_codec_use_the_average_and_training_the_raw(tmp_path: Path) -> None:
    record, plain = Record(), Record()
    module = fit(tmp_path, [CodecEMA(0.9), record], val_check_interval=2)
    fit(tmp_path, [plain], val_check_interval=2)
    assert all(equal(a, b) for a, b in zip(record.raw, plain.raw, strict=True))  # training is not disturbed
    assert len(record.validated) == 3
    assert not any(equal(average, raw) for average, raw in zip(record.validated, record.raw[1::2], strict=True))
    assert equal(record.validated[-1], weights(module))


@pytest.mark.filterwarnings("ignore:Using ModelCheckpoint with manual optimization")
def test_every_checkpoint_holds_the_average_as_its_codec(tmp_path: Path) -> None:
    names = ("during validation", "after validation", "weights only")
    record = Record({name: tmp_path / f"{name}.ckpt" for name in names})
    saver = ModelCheckpoint(tmp_path, filename="last", every_n_train_steps=6)
    light = ModelCheckpoint(tmp_path, filename="light", every_n_train_steps=6, save_weights_only=True, mode="max")
    module = fit(tmp_path, [saver, light, CodecEMA(0.9), record], enable_checkpointing=True)
    for name in (*names, "last", "light"):
        checkpoint = torch.load(tmp_path / f"{name}.ckpt", weights_only=True)
        codec = {key.removeprefix("codec."): value for key, value in checkpoint["state_dict"].items()
                 if key.startswith("codec.")}  # fmt: skip
        assert equal(codec, weights(module)), name
        discriminator = module.discriminator.weight
        assert torch.equal(checkpoint["state_dict"]["discriminator.weight"], discriminator), name
        assert ("codec_ema" in checkpoint) == (name not in ("weights only", "light")), name
        if "codec_ema" in checkpoint:
            assert equal(checkpoint["codec_ema"]["raw"], record.raw[-1]), name
    assert "on_save_checkpoint" not in vars(module)


@pytest.mark.parametrize("stop", [1, 4])
def test_resuming_is_exact(tmp_path: Path, stop: int) -> None:
    whole_record, record = Record(), Record()
    whole = fit(tmp_path, [CodecEMA(0.9), whole_record])
    checkpoint = tmp_path / "stop.ckpt"
    fit(tmp_path, [CodecEMA(0.9), Save(checkpoint, stop)], max_steps=stop, enable_checkpointing=True)
    # The loader is not stateful: feed what is left.
    rest = CodecEMA(0.9)
    resumed = new_module()
    runner = trainer(
        tmp_path, [rest, record], max_steps=6, max_epochs=-1, num_sanity_val_steps=0, enable_checkpointing=False
    )
    runner.fit(resumed, loader(BATCHES[stop:]), loader(BATCHES[:1]), ckpt_path=checkpoint)
    assert len(record.raw) == 6 - stop
    assert all(equal(a, b) for a, b in zip(record.raw, whole_record.raw[stop:], strict=True))
    assert equal(weights(resumed), weights(whole))
    assert (rest.batches, rest.updates) == (6, 6)


def test_other_stages_and_other_checkpoints(tmp_path: Path) -> None:
    path = tmp_path / "with.ckpt"
    module = fit(tmp_path, [CodecEMA(0.9), Record({"after": path})])
    for callbacks in ([], [CodecEMA(0.9)]):
        tested = new_module()
        trainer(tmp_path, list(callbacks)).test(tested, loader(BATCHES), ckpt_path=path, verbose=False)
        assert equal(weights(tested), weights(module))
    without = tmp_path / "without.ckpt"
    fit(tmp_path, [Record({"after": without})], max_steps=2)
    with pytest.warns(UserWarning, match="no raw weights of CodecEMA"):
        fit(tmp_path, [CodecEMA(0.9)], ckpt_path=without, max_steps=4)


def test_an_error_in_validation_leaves_the_raw_weights(tmp_path: Path) -> None:
    class Fail(Callback):
        def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
            raise RuntimeError("stop")

    record = Record()
    module = new_module()
    runner = trainer(tmp_path, [CodecEMA(0.9), record, Fail()], max_epochs=1, num_sanity_val_steps=0)
    with pytest.raises(RuntimeError, match="stop"):
        runner.fit(module, loader(BATCHES), loader(BATCHES))
    assert equal(weights(module), record.raw[-1])


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="decay 1"):
        CodecEMA(1)
