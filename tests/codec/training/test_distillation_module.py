"""Distillation: what stays frozen stays bit for bit, losses by value, checkpoints without the teacher, two ranks."""

import subprocess
import sys

import lightning as L
import pytest
import torch
import torch.nn.functional as F

from callbacks import CodecEMA
from codec import load_codec
from codec.codec import CodecOutput
from codec.encoders.feature_cache import TeacherCache
from codec.encoders.spectral import MelEncoder
from codec.errors import InvalidValue
from codec.training.losses import LatentDistance, Latents, LossInputs
from tests.support.distilling import QuantizedCosine, save_teacher, student_of
from tests.support.training import VoiceData, quiet_trainer, sgd, voice, weights


@pytest.fixture(scope="module")
def teachers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teachers")
    return {name: save_teacher(folder / f"{name}.ckpt", name) for name in ("FSQ", "RVQ")}


@pytest.fixture
def teacher(teachers):
    return teachers["FSQ"]


def frozen_weights(state):
    return {k: v for k, v in state.items() if k.startswith(("codec.quantizer.", "codec.decoder."))}


@pytest.mark.parametrize("quantizer", ["FSQ", "RVQ"])
@pytest.mark.parametrize("accumulate", [1, 2])
def test_after_training_quantizer_and_decoder_are_the_teachers_bit_for_bit(teachers, tmp_path, quantizer, accumulate):
    stored = frozen_weights(torch.load(teachers[quantizer], weights_only=True)["state_dict"])
    losses = [LatentDistance(), QuantizedCosine()]
    module = student_of(teachers[quantizer], distillation=losses, accumulate=accumulate)
    module.train()  # as anyone may call it
    before = weights(module)
    trainer = quiet_trainer(max_steps=4, callbacks=[CodecEMA(0.7, warmup=False)])
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    for state in (module.state_dict(), torch.load(tmp_path / "student.ckpt", weights_only=True)["state_dict"]):
        for name, value in frozen_weights(state).items():
            assert torch.equal(value, stored[name]), name
        encoder = [name for name in state if name.startswith("codec.encoder.")]
        assert all(not torch.equal(state[name], before[name]) for name in encoder if state[name].numel() > 1)
    raw = torch.load(tmp_path / "student.ckpt", weights_only=True)["codec_ema"]["raw"]
    kept = {k.removeprefix("codec."): v for k, v in stored.items()}
    assert all(torch.equal(raw[name], kept[name]) for name in raw.keys() & kept.keys())
    assert "decoder.head.weight" in kept and "decoder.head.weight" not in raw  # frozen weights are their own average


def test_frozen_parts_are_in_eval_mode_without_gradients_and_owned_by_no_optimizer(teacher):
    module = student_of(teacher)
    seen = []

    class Watch(L.Callback):
        def on_before_optimizer_step(self, trainer, pl_module, optimizer):
            seen.append((
                any(m.training for part in (module.codec.quantizer, module.codec.decoder) for m in part.modules()),
                any(p.grad is not None for part in (module.teacher, module.codec.decoder) for p in part.parameters()),
                module.codec.encoder.training,
            ))  # fmt: skip

    trainer = quiet_trainer(max_steps=2, callbacks=[Watch()])
    trainer.fit(module, VoiceData())
    assert seen == [(False, False, True)] * 4
    owned = {id(p) for o in trainer.optimizers for g in o.param_groups for p in g["params"]}
    wanted = [*module.codec.encoder.parameters(), *module.discriminators.parameters()]
    assert owned == {id(p) for p in wanted}
    module.train()
    assert not module.codec.decoder.training and module.codec.encoder.training and not module.teacher.training
    assert all(not p.requires_grad for p in module.teacher.parameters())


@pytest.mark.slow
def test_two_ranks_neither_hang_nor_touch_what_is_frozen(teacher, tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["-m", "tests.support.distilling", str(teacher), str(tmp_path), "2"]
    result = subprocess.run([*launch, *words], capture_output=True, text=True, timeout=900, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    assert "find_unused" not in result.stderr
    first, second = (torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in (0, 1))
    stored = torch.load(teacher, weights_only=True)["state_dict"]
    single = student_of(
        teacher,
        optimizer=sgd,
        discriminator_optimizer=sgd,
        gradient_clip=0.0,
        distillation=[LatentDistance(10.0)],
    )
    before = weights(single)
    quiet_trainer(max_steps=2).fit(single, VoiceData(4))
    for name, value in weights(single).items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], value, atol=1e-6, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    assert all(torch.equal(v, stored[k]) for k, v in frozen_weights(first).items())
    assert not torch.equal(first["codec.encoder.out.weight"], before["codec.encoder.out.weight"])


def test_distillation_starts_at_its_batch_and_rises(teacher):
    module = student_of(teacher, distillation_start=3, distillation_ramp=3)
    assert [module.distillation_factor(b) for b in range(9)] == [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1]
    assert [student_of(teacher).distillation_factor(b) for b in (0, 1)] == [1, 1]
    logged = []

    class Watch(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            logged.append(dict(trainer.callback_metrics))

    module = student_of(teacher, distillation_start=2, distillation_ramp=1, distillation=[LatentDistance(7.0)])
    quiet_trainer(max_steps=4, callbacks=[Watch()]).fit(module, VoiceData())
    assert ["train/latent_distance" in values for values in logged] == [False, False, True, True]
    for values, factor in zip(logged, (0, 0, 0.5, 1), strict=True):
        parts = {"mel": 15, "adversarial": 1, "feature_matching": 1, "quantizer": 1, "latent_distance": 7 * factor}
        total = sum(weight * float(values.get(f"train/{name}", 0)) for name, weight in parts.items())
        assert float(values["train/generator"]) == pytest.approx(total, rel=1e-5)


def test_a_step_is_the_codecs_losses_plus_the_distances(teacher):
    """Written out with plain autograd, without discriminators."""
    settings = {"discriminators": [], "optimizer": sgd, "gradient_clip": 0.0}
    settings["distillation"] = [LatentDistance(5.0), QuantizedCosine(2.0)]
    module, reference = (student_of(teacher, **settings) for _ in range(2))
    audio = voice(0, size=2)
    output, whole = reference.codec(audio), load_codec(teacher)
    z_e = whole.encoder(audio)
    loss = (
        15 * reference.reconstruction_loss.distance(output.audio, audio)
        + 5 * F.mse_loss(output.z_e, z_e)
        + 2 * (1 - F.cosine_similarity(output.z_q, whole.quantizer(z_e).latents, dim=1).mean())
    )
    parameters = list(reference.codec.encoder.parameters())
    expected = [p - 0.01 * g for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True)]
    quiet_trainer(max_steps=1).fit(module, VoiceData())
    for value, wanted in zip(module.codec.encoder.parameters(), expected, strict=True):
        torch.testing.assert_close(value, wanted, atol=1e-6, rtol=1e-4)


def test_the_checkpoint_loads_like_any_other_without_the_teacher(tmp_path):
    teacher = save_teacher(tmp_path / "teacher.ckpt")
    module = student_of(teacher)
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(tmp_path / "student.ckpt")
    names = torch.load(tmp_path / "student.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[0] for name in names} == {"codec", "discriminators"}
    again = student_of(teacher)
    quiet_trainer(max_steps=2).fit(again, VoiceData(), ckpt_path=tmp_path / "student.ckpt")
    third = student_of(tmp_path / "student.ckpt", init_from=str(tmp_path / "student.ckpt"))  # a student can teach
    teacher.unlink()
    codec = load_codec(tmp_path / "student.ckpt")
    assert isinstance(codec.encoder, MelEncoder)
    audio = voice(5, size=1)
    with torch.no_grad():
        assert torch.equal(codec(audio).audio, module.codec.eval()(audio).audio)
        assert torch.equal(third.codec.eval()(audio).audio, codec(audio).audio)


def test_discriminators_go_on_or_start_afresh(teacher):
    stored = torch.load(teacher, weights_only=True)["state_dict"]
    for go_on in (True, False):
        module = student_of(teacher, continue_discriminators=go_on)
        same = [torch.equal(v, stored[f"discriminators.{k}"]) for k, v in weights(module.discriminators).items()]
        assert all(same) if go_on else not all(same)


def test_the_teacher_moves_with_the_module_and_is_none_of_its_parts(teacher):
    module = student_of(teacher)
    module.to("meta")
    assert all(p.is_meta for p in module.teacher.parameters())
    assert not any("teacher" in name for name, _ in module.named_modules())
    assert module.teacher.decoder is module.codec.decoder


def test_the_distance_is_zero_at_the_teachers_latents_and_has_a_gradient_beside_them(teacher):
    module = student_of(teacher)
    own = module.teach(voice(0, size=2))
    for loss in (LatentDistance(), QuantizedCosine()):
        assert loss(inputs(own, own)).item() == pytest.approx(0, abs=1e-6)
    z_e = own.z_e.clone().requires_grad_()
    student = Latents(z_e + 0.5 * torch.randn_like(z_e), own.z_q)
    distance = LatentDistance()(inputs(student, own))
    torch.testing.assert_close(distance, (student.z_e - own.z_e).square().mean())
    (gradient,) = torch.autograd.grad(distance, z_e)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0


def inputs(student: Latents, teacher: Latents) -> LossInputs:
    output = CodecOutput(None, None, student.z_e, student.z_q, None)
    return LossInputs(None, output, None, teacher=teacher)


def test_what_does_not_fit_is_refused_at_the_start(teachers, tmp_path):
    with pytest.raises(InvalidValue, match="'latent_distance' of LatentDistance is taken"):
        student_of(teachers["FSQ"], distillation=[LatentDistance(), LatentDistance()])
    with pytest.raises(ValueError, match=r"^distillation_start -1 must be 0 or more"):
        student_of(teachers["FSQ"], distillation_start=-1)
    with pytest.raises(ValueError, match=r"There is no checkpoint .*none\.ckpt"):
        student_of(tmp_path / "none.ckpt")
    with pytest.raises(ValueError, match="weight -1"):
        LatentDistance(-1)


def test_a_student_of_another_hop_or_width_is_refused(teacher, monkeypatch):
    monkeypatch.setitem(
        __import__("tests.support.distilling", fromlist=["STUDENT"]).STUDENT,
        "init_args",
        {"dim": 12, "hop_length": 320},
    )
    with pytest.raises(ValueError, match="student has hop 320 and width 12, the teacher hop 160 and width 16"):
        student_of(teacher)


def test_the_cache_gives_the_teachers_latents_and_is_bounded(teacher, tmp_path):
    calls = []
    module = student_of(teacher, cache=TeacherCache(str(tmp_path / "cache"), 1.0))
    plain = student_of(teacher)
    module.teacher.encoder.register_forward_hook(lambda *_: calls.append(1))
    audio = voice(0, size=2)
    for number, clips in enumerate((audio, audio, audio.flip(0), voice(1, size=2), audio + 1e-4), start=1):
        got, expected = module.teach(clips), plain.teach(clips)
        torch.testing.assert_close(got, expected)
        assert len(calls) == (1, 1, 1, 2, 3)[number - 1]
    changed = student_of(teacher, cache=TeacherCache(str(tmp_path / "cache"), 1.0))
    changed.teacher.encoder.out.bias.data.add_(1.0)
    assert not torch.isclose(changed.teach(audio).z_e, module.teach(audio).z_e).any()
    small = TeacherCache(str(tmp_path / "small"), 1e-6 * 1.5 * got.z_e[0].numel() * 4 / 1e3)
    small(plain.teacher.encoder, audio)
    assert len(list((tmp_path / "small").iterdir())) == 1
    with pytest.raises(ValueError, match="max_gigabytes 0"):
        TeacherCache("x", 0)


class Projected(LatentDistance):
    """Through a projection that it trains."""

    name = "projected"

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs):
        return self.scale * super().forward(inputs)


def test_weights_of_a_distance_train(teachers):
    module = student_of(teachers["FSQ"], discriminators=[], distillation=[Projected()])
    quiet_trainer(max_steps=1).fit(module, VoiceData())
    assert module.get_parameter("distances.projected.scale") != 1
