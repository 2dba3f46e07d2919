"""A run interrupted after any batch and resumed equals the uninterrupted one, bit for bit."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from callbacks import CodecEMA
from codec import MultiPeriodDiscriminator, WarmupLinearDecay
from tests.support.training import VoiceData, discriminators, quiet_trainer, tiny_module, weights

STEPS = 9


def module(accumulate: int):
    schedule = WarmupLinearDecay(3, 8, final=0.1)
    return tiny_module(
        accumulate=accumulate,
        discriminator_start=2,
        discriminator_crop=1600,
        schedule=schedule,
        discriminator_schedule=schedule,
    )


def train(accumulate: int, steps: int, resume=None):
    trained = module(accumulate)
    trainer = quiet_trainer(max_steps=steps, callbacks=[CodecEMA(0.9)])
    trainer.fit(trained, VoiceData(), ckpt_path=resume)
    return trainer, trained


@pytest.mark.parametrize(("accumulate", "at"), [(1, 1), (1, 2), (1, 3), (1, 6), (3, 1), (3, 2), (3, 4), (3, 6)])
def test_resumed_equals_uninterrupted(tmp_path, accumulate, at):
    whole_trainer = train(accumulate, STEPS)[0]
    trainer = train(accumulate, at)[0]
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    trainer = train(accumulate, STEPS, resume=tmp_path / "last.ckpt")[0]
    assert trainer.global_step == STEPS
    for one, other in zip(whole_trainer.optimizers, trainer.optimizers, strict=True):
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=0, atol=0)
    whole_trainer.save_checkpoint(tmp_path / "whole.ckpt")
    trainer.save_checkpoint(tmp_path / "resumed.ckpt")
    saved = [torch.load(tmp_path / f"{name}.ckpt", weights_only=True) for name in ("whole", "resumed")]
    for part in ("state_dict", "codec_ema"):  # averaged codec and discriminators; raw codec and counts
        torch.testing.assert_close(saved[0][part], saved[1][part], rtol=0, atol=0)
    raw = saved[0]["codec_ema"]["raw"]
    assert any(not torch.equal(v, saved[0]["state_dict"][f"codec.{k}"]) for k, v in raw.items())


def test_another_seed_gives_other_weights():
    """The comparison above can fail: the run does depend on the randomness that is restored."""
    _, one = train(1, 4)
    other = module(1)
    other.seed += 1
    quiet_trainer(max_steps=4, callbacks=[CodecEMA(0.9)]).fit(other, VoiceData())
    assert any(not torch.equal(v, weights(other)[k]) for k, v in weights(one).items())


def deeper():
    """A module with one more layer in its decoder."""
    changed = tiny_module()
    changed.codec.decoder.backbone.blocks.append(nn.Linear(3, 3))
    return changed


def frozen_encoder():
    return tiny_module(frozen_parts=["encoder"])


@pytest.mark.parametrize(("changed", "commands", "says"), [
    (deeper, ["fit"], r"optimizers train \[(\d+), \d+\] tensors, this module's \[(?!\1)\d+, \d+\]: to go on"),
    (deeper, ["validate"], r"another architecture .*Missing key.*backbone\.blocks\.1\.weight.*: to go on with a run"),
    (lambda: tiny_module(discriminators=[MultiPeriodDiscriminator((2, 3), (4, 16)), discriminators()[1]]),
     ["fit", "validate"], r"of another architecture .*size mismatch for discriminators.*: to go on with a run"),
    (lambda: tiny_module(discriminators=[]), ["fit"], r"train \[\d+, \d+\] tensors, this module's \[\d+\]: to go on"),
    (frozen_encoder, ["fit"], r"same parts and frozen_parts as it did; .* as model\.init_args\.init_from"),
])  # fmt: skip
def test_a_checkpoint_of_other_parts_is_refused_in_one_sentence(tmp_path, changed, commands, says):
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(tiny_module(), VoiceData())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    for command in commands:
        with pytest.raises(ValueError, match=says) as caught:
            getattr(quiet_trainer(max_steps=2), command)(changed(), VoiceData(), ckpt_path=tmp_path / "last.ckpt")
        assert "\n" not in str(caught.value) and str(caught.value).startswith("The checkpoint")


def test_what_is_frozen_does_not_matter_to_an_evaluation(tmp_path):
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(tiny_module(), VoiceData())
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    module = frozen_encoder()
    clips = DataLoader(VoiceData().val_dataloader(), batch_size=None)  # type: ignore[arg-type]
    quiet_trainer(limit_val_batches=1).validate(module, clips, ckpt_path=tmp_path / "last.ckpt", verbose=False)
    torch.testing.assert_close(weights(module), weights(trainer.lightning_module), rtol=0, atol=0)
