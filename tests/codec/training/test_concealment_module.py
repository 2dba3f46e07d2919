"""Training of learned concealment: the codec stays, runs resume exactly, checkpoints serve links, and it learns."""

import math

import pytest
import torch
from torch.utils.data import DataLoader

from codec import (
    BinarySymmetricChannel,
    FrameErasureChannel,
    InvalidValue,
    LearnedConcealment,
    Link,
    MeanLatent,
    RepeatLast,
    load_codec,
)
from codec.training.comparison_module import evaluated_systems
from tests.support.concealing import concealment_module
from tests.support.training import VoiceData, mel_loss, quiet_trainer, voice, weights


def fit(module, steps, resume=None):
    trainer = quiet_trainer(max_steps=steps)
    trainer.fit(module, VoiceData(), ckpt_path=resume)
    return trainer


def clips():
    return DataLoader(VoiceData().val_dataloader(), batch_size=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("accumulate", "at"), [(1, 1), (1, 3), (2, 3)])
def test_resumed_equals_uninterrupted(tmp_path, accumulate, at):
    whole = fit(concealment_module(tmp_path, accumulate=accumulate), 5)
    fit(concealment_module(tmp_path, accumulate=accumulate), at).save_checkpoint(tmp_path / "last.ckpt")
    resumed = fit(concealment_module(tmp_path, accumulate=accumulate), 5, resume=tmp_path / "last.ckpt")
    assert resumed.global_step == 5
    found, expected = weights(resumed.lightning_module), weights(whole.lightning_module)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    other = concealment_module(tmp_path, accumulate=accumulate, seed=4)
    fit(other, 5)  # the comparison can fail: losses are drawn from the seed
    assert any(not torch.equal(value, expected[name]) for name, value in weights(other).items())


def test_only_the_predictor_is_trained_and_the_codec_stays_in_eval_mode(tmp_path):
    module = concealment_module(tmp_path, reconstruction_loss=mel_loss())
    before = weights(module)
    trainer = fit(module, 2)
    changed = {name.split(".")[0] for name, value in weights(module).items() if not torch.equal(value, before[name])}
    assert changed == {"predictor"}
    assert module.predictor.training and not any(part.training for part in module.codec.modules())
    (optimizer,) = trainer.optimizers
    assert len(optimizer.state) == len(list(module.predictor.parameters())) > 0


@pytest.mark.parametrize("lookahead", [0, 2])
def test_it_learns_what_a_repetition_does_not_know(tmp_path, lookahead):
    module = concealment_module(tmp_path, lookahead=lookahead, channel=FrameErasureChannel(0.3, 2))
    fit(module, 40)
    found = quiet_trainer(limit_val_batches=2).validate(module, clips(), verbose=False)[0]
    assert found["val/latent"] < 0.95 * found["val/repeat_last"]
    again = quiet_trainer(limit_val_batches=2).validate(module, clips(), verbose=False)[0]
    assert again == found  # draws of the clips' own


def test_the_loss_is_the_mean_error_of_lost_frames(tmp_path):
    """Untrained it repeats: of a loss of all frames it gives the mean latent, with a known distance."""
    module = concealment_module(tmp_path, channel=FrameErasureChannel(1.0), power=2.0)
    logged = {}
    module._log_training = logged.update  # type: ignore[method-assign]
    fit(module, 1)
    sent = module.codec.quantizer.decode(module.codec.encode(voice(0, size=2)))
    expected = ((sent - module.predictor.mean[:, None]) / module.predictor.scale).square().mean()
    assert float(logged["latent"]) == pytest.approx(float(expected), rel=1e-5) and float(expected) > 0.1


def test_checkpoints_serve_links_and_hold_the_codec(tmp_path):
    module = concealment_module(tmp_path, lookahead=1)
    fit(module, 2).save_checkpoint(tmp_path / "run.ckpt")
    codec = load_codec(tmp_path / "run.ckpt")
    connection = Link(concealment=LearnedConcealment(tmp_path / "run.ckpt")).connect(codec.quantizer)
    codes = codec.encode(voice(3, samples=4000))
    channel = FrameErasureChannel(0.3)
    found = connection.transmit(codes, channel, torch.Generator().manual_seed(1))
    (system,), rate = evaluated_systems(module, None)
    torch.testing.assert_close(found, system.connection.transmit(codes, channel, torch.Generator().manual_seed(1)))
    assert (connection.delay_frames, system.connection.delay_frames, rate) == (1, 1, 16_000)
    (other,), _ = evaluated_systems(module, Link(concealment=RepeatLast()))
    assert isinstance(other.connection.concealment, RepeatLast)
    back = type(module).load_from_checkpoint(
        tmp_path / "run.ckpt",
        checkpoint=str(tmp_path / "codec.safetensors"),
        predictor=module.predictor,
        channel=channel,
    )
    torch.testing.assert_close(weights(back), weights(module), rtol=0, atol=0)


def test_another_predictor_does_not_go_on_with_a_run(tmp_path):
    fit(concealment_module(tmp_path), 1).save_checkpoint(tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match=r"'lookahead': 0.*this module one with .*'lookahead': 1"):
        fit(concealment_module(tmp_path, lookahead=1), 2, resume=tmp_path / "run.ckpt")


@pytest.mark.parametrize(("changes", "says"), [
    ({"power": 0.5}, "power 0.5 must be at least 1"),
    ({"power": math.nan}, "power nan must be at least 1"),
    ({"channel": BinarySymmetricChannel(0.0)}, "loses nothing"),
    ({"link": Link(concealment=MeanLatent())}, "MeanLatent must be unset"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(tmp_path, changes, says):
    with pytest.raises(InvalidValue, match=says):
        concealment_module(tmp_path, **changes)


def test_logged_names_are_those_logged(tmp_path):
    module = concealment_module(tmp_path, reconstruction_loss=mel_loss())
    trainer = quiet_trainer(max_steps=1, limit_val_batches=1, val_check_interval=1, log_every_n_steps=1)
    trainer.fit(module, VoiceData(listed=[voice(0)]).train_dataloader(), clips())
    assert set(module.logged_names()) <= set(trainer.callback_metrics) | set(trainer.logged_metrics)
