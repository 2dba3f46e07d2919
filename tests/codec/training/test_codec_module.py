"""Adversarial training: order, stale gradients, clipping, accumulation, skipped steps, counting, schedules."""

from types import SimpleNamespace

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.plugins import MixedPrecision
from torch.utils.data import DataLoader

from codec import Adversary, CodecModule, InvalidValue, LatentDistance, Loss, Optimization, WarmupLinearDecay
from codec.training.losses import LossInputs
from data import FolderSource, SpeechDataModule
from tests.support.training import (
    Hinge,
    VoiceData,
    adam,
    discriminators,
    mel_loss,
    quiet_trainer,
    sgd,
    tiny_module,
    voice,
    weights,
)


def reference_step(module, audio):
    """One adversarial step written out with plain autograd and SGD: discriminators first, then the codec."""
    discriminators, codec = list(module.discriminators), module.codec
    lr, output = 0.01, codec(audio)
    scores = [[j.score for d in discriminators for j in d(x)] for x in (audio, output.audio.detach())]
    discriminator_loss = module.adversarial_loss.discriminator(*scores)
    parameters = list(module.discriminators.parameters())
    for p, g in zip(parameters, torch.autograd.grad(discriminator_loss, parameters), strict=True):
        p.data -= lr * g
    real, fake = ([j for d in discriminators for j in d(x)] for x in (audio, output.audio))
    loss = (
        15 * module.reconstruction_loss.distance(output.audio, audio)
        + module.adversarial_loss.generator([j.score for j in fake])
        + module.feature_matching_loss(LossInputs(codec, output, audio, real=list(real), fake=fake))
    )
    parameters = list(codec.parameters())
    for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        p.data -= lr * g
    return weights(module)


@pytest.mark.parametrize("adversarial_loss", [None, Hinge()])
def test_a_step_is_discriminators_first_then_codec_against_the_stepped_discriminators(adversarial_loss):
    settings = {"optimizer": sgd, "discriminator_optimizer": sgd, "gradient_clip": 0.0}
    module = tiny_module(adversarial_loss=adversarial_loss, **settings)
    expected = reference_step(tiny_module(adversarial_loss=adversarial_loss, **settings), voice(0, size=2))
    quiet_trainer(max_steps=1).fit(module, VoiceData())
    for name, value in weights(module).items():
        torch.testing.assert_close(value, expected[name], atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


def test_the_codec_step_leaves_no_gradient_in_the_discriminators():
    module = tiny_module()
    seen = []

    class Watch(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            seen.append([p.grad is None for p in pl_module.discriminators.parameters()])

    quiet_trainer(max_steps=2, callbacks=[Watch()]).fit(module, VoiceData())
    assert [all(s) for s in seen] == [False, True, False, True]  # present at their own step, gone at the codec's
    assert all(p.requires_grad for p in module.parameters())


def test_discriminators_join_at_their_batch():
    module = tiny_module(discriminator_start=3)
    before = weights(module.discriminators)
    quiet_trainer(max_steps=3).fit(module, VoiceData())
    assert all(torch.equal(v, before[k]) for k, v in weights(module.discriminators).items())
    module = tiny_module(discriminator_start=3)
    quiet_trainer(max_steps=4).fit(module, VoiceData())
    assert any(not torch.equal(v, before[k]) for k, v in weights(module.discriminators).items())


def test_steps_and_checkpoints_count_batches(tmp_path):
    keep = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)
    trainer = quiet_trainer(max_steps=7, callbacks=[keep], enable_checkpointing=True)
    trainer.fit(tiny_module(discriminator_start=3, accumulate=2), VoiceData())
    assert trainer.global_step == 7
    assert trainer.fit_loop.epoch_loop._batches_that_stepped == 7
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["step=2", "step=4", "step=6"]


def test_accumulation_equals_one_large_batch():
    settings = {"discriminators": [], "optimizer": sgd}
    large, small = tiny_module(**settings), tiny_module(accumulate=2, **settings)
    both = voice(0, size=8)
    quiet_trainer(max_steps=1).fit(large, VoiceData(listed=[both]))
    quiet_trainer(max_steps=2).fit(small, VoiceData(listed=[both[:4], both[4:]]))
    for name, value in weights(small).items():
        torch.testing.assert_close(value, weights(large)[name], atol=1e-7, rtol=1e-5)


class Fp16OnCpu(MixedPrecision):
    """fp16 autocast with a real gradient scaler, which the Trainer itself offers on GPUs alone."""

    def __init__(self) -> None:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=10**6)
        super().__init__("16-mixed", "cpu", scaler)


@pytest.mark.parametrize("precision", ["32", "bf16-mixed", "16-mixed"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_clipping_bounds_the_unscaled_gradient(precision, accumulate):
    """With plain SGD at rate 1 the weights move by exactly the clipped gradient."""
    options = {"plugins": [Fp16OnCpu()]} if precision == "16-mixed" else {"precision": precision}
    module = tiny_module(
        discriminators=[],
        optimizer=lambda p: torch.optim.SGD(p, lr=1.0),
        gradient_clip=0.125,
        accumulate=accumulate,
    )
    before = weights(module.codec)
    quiet_trainer(max_steps=accumulate, **options).fit(module, VoiceData())
    moved = torch.cat([(v - before[k]).flatten() for k, v in weights(module.codec).items() if v.is_floating_point()])
    assert moved.norm().item() == pytest.approx(0.125, rel=1e-3)
    assert module.gradient_norm(module.lightning_optimizers()[0]) > 0.125


@pytest.mark.parametrize("simultaneous", [False, True])
def test_fp16_accumulation_survives_a_change_of_scale(simultaneous):
    """The discriminators' overflow halves the shared scale between two halves of the codec's gradient."""

    class Overflow(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            if optimizer is trainer.optimizers[0]:
                self.seen = torch.cat([p.grad.flatten().clone() for p in pl_module.codec.parameters()])
            elif self.halve:
                plugin.scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"] = {
                    torch.device("cpu"): torch.tensor(1.0)
                }

    gradients = []
    for halve in (False, True):
        plugin, watch = Fp16OnCpu(), Overflow()
        watch.halve = halve
        torch.manual_seed(0)
        still = Adversary(discriminators(), optimizer=lambda p: torch.optim.SGD(p, lr=0.0), simultaneous=simultaneous)
        module = tiny_module(adversary=still, optimizer=sgd, accumulate=2, gradient_clip=0.0)
        quiet_trainer(max_steps=2, plugins=[plugin], callbacks=[watch]).fit(module, VoiceData())
        gradients.append((watch.seen, plugin.scaler.get_scale()))
    (plain, scale), (halved, half_scale) = gradients
    assert half_scale == scale / 2
    torch.testing.assert_close(halved, plain, rtol=0.02, atol=0.02 * plain.abs().max().item())


@pytest.mark.parametrize("precision", ["32", "bf16-mixed"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(precision):
    module = tiny_module()
    trainer = quiet_trainer(max_steps=2, precision=precision)
    trainer.fit(module, VoiceData())
    before, states = weights(module), [o.state_dict()["state"] for o in trainer.optimizers]
    broken = tiny_module()
    trainer = quiet_trainer(max_steps=3, precision=precision)
    trainer.fit(broken, VoiceData(broken=(2,)))
    assert broken.skipped_steps == 2  # the discriminators' and the codec's
    assert all(torch.equal(value, before[name]) for name, value in weights(broken).items())
    for optimizer, state in zip(trainer.optimizers, states, strict=True):
        assert all(torch.equal(s["exp_avg"], state[k]["exp_avg"]) for k, s in optimizer.state_dict()["state"].items())
        assert all(s["step"] == 2 for s in optimizer.state_dict()["state"].values())


def test_schedules_rise_and_decay_by_batches():
    schedule = WarmupLinearDecay(10, 110, final=0.2)
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(9) == schedule(10) == pytest.approx(1.0)
    assert schedule(60) == pytest.approx(0.6)
    assert schedule(110) == schedule(10_000) == pytest.approx(0.2)
    with pytest.raises(ValueError, match="warmup 5"):
        WarmupLinearDecay(5, 4)
    rates = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            rates.append([o.param_groups[0]["lr"] for o in trainer.optimizers])

    schedule = WarmupLinearDecay(2, 4, final=0.0)
    module = tiny_module(schedule=schedule, discriminator_schedule=schedule, discriminator_start=1, optimizer=adam)
    quiet_trainer(max_steps=4, callbacks=[Watch()]).fit(module, VoiceData())
    assert [r[0] for r in rates] == pytest.approx([1e-3, 2e-3, 2e-3, 1e-3])
    assert [r[1] for r in rates[1:]] == pytest.approx([1e-3, 2e-3, 2e-3])  # counted from its own start


def test_a_schedule_that_goes_on_warms_up_to_where_the_fall_had_come():
    whole, rest = WarmupLinearDecay(10, 110, final=0.2), WarmupLinearDecay(10, 110, final=0.2, start=60)
    assert [rest(batch) for batch in (9, 30, 50, 500)] == pytest.approx([whole(60 + b) for b in (9, 30, 50, 500)])
    assert rest(0) == pytest.approx(0.1 * whole(60))
    assert rest(4) == pytest.approx(0.5 * whole(64))
    with pytest.raises(ValueError, match="start -1"):
        WarmupLinearDecay(5, 10, start=-1)


def test_everything_promised_is_logged():
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(tiny_module(), VoiceData())
    logged = set(trainer.logged_metrics)
    losses = {"mel", "quantizer", "adversarial", "feature_matching", "discriminator", "generator"}
    assert {f"train/{name}" for name in losses | {"skipped_steps"}} <= logged
    assert {
        f"{kind}/{side}" for kind in ("gradient_norm", "learning_rate") for side in ("generator", "discriminator")
    } <= (logged)


def test_a_loss_at_another_rate_is_refused():
    loss = mel_loss()
    loss.sample_rate = 24_000
    with pytest.raises(ValueError, match="24000 Hz, the codec puts out 16000 Hz"):
        tiny_module(reconstruction_loss=loss)


def test_a_trainer_that_would_shard_the_clips_again_is_refused():
    module = tiny_module()
    module.trainer = SimpleNamespace(world_size=2, _accelerator_connector=SimpleNamespace(use_distributed_sampler=True))
    with pytest.raises(InvalidValue, match="use_distributed_sampler True must be false"):
        module.setup("fit")


@pytest.mark.parametrize("name", ["codec", "mel", "generator", "channel", "validation_distance", "trainer"])
def test_a_loss_under_a_name_of_the_module_is_refused(name):
    loss = Named()
    loss.name = name
    with pytest.raises(InvalidValue, match=f"'{name}' of Named is taken"):
        tiny_module(losses=[loss])


@pytest.mark.parametrize("name", ["a.b", "", "my loss", 5, None])
def test_a_loss_whose_name_is_no_python_name_is_refused(name):
    loss = Named()
    loss.name = name
    with pytest.raises(InvalidValue, match="must be a valid Python name"):
        tiny_module(losses=[loss])


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
def test_weights_of_losses_are_finite(weight):
    with pytest.raises(InvalidValue, match="must be a finite number of 0 or more"):
        Named(weight)


def test_a_gradient_norm_of_nan_is_refused():
    with pytest.raises(InvalidValue, match="gradient_clip nan"):
        Optimization(gradient_clip=float("nan"))


def test_distances_from_a_teacher_are_refused_without_one():
    with pytest.raises(InvalidValue, match="LatentDistance in losses needs a teacher"):
        tiny_module(losses=[LatentDistance()])


class Named(Loss):
    name = "codec"

    def forward(self, inputs):
        return inputs.output.audio.square().mean()


def test_a_loss_of_ones_own_joins_the_sum_under_its_name_and_weight():
    class Power(Named):
        name = "power"

    module = tiny_module(losses=[Power(3.0)], discriminators=[])
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, VoiceData())
    logged = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert logged["train/power"] > 0
    assert logged["train/generator"] == pytest.approx(15 * logged["train/mel"] + 3 * logged["train/power"], rel=1e-5)


def test_zero_accumulation_is_refused():
    with pytest.raises(ValueError, match="accumulate 0"):
        tiny_module(accumulate=0)


def test_a_module_that_was_validated_trains_and_validates():
    class Data(VoiceData):
        def val_dataloader(self):
            return DataLoader(super().val_dataloader(), batch_size=None)

    module, data = tiny_module(), Data()
    trainer = quiet_trainer(max_steps=2, limit_val_batches=1, val_check_interval=2, check_val_every_n_epoch=None)
    trainer.validate(module, data, verbose=False)
    trainer.fit(module, data)
    assert trainer.callback_metrics["val/mel"] > 0


def test_a_data_module_at_another_rate_is_refused(recordings):
    module = tiny_module()
    source = FolderSource(str(recordings))
    data = SpeechDataModule(source, source, sample_rate=24_000, crop_seconds=0.4, num_workers=0)
    for start in ("fit", "validate"):
        with pytest.raises(InvalidValue, match=r"24000 and 24000 Hz must be those of the codec, 16000 Hz"):
            getattr(quiet_trainer(), start)(module, datamodule=data)


def test_groups_may_be_none():
    module = CodecModule(tiny_module().codec, None, optimization=None)
    assert not len(module.discriminators) and module.optimization == Optimization()
