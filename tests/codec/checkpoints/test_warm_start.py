"""Weights from files: what matched and what did not, geometries side by side, unsafe files, frozen parts."""

import copy
import pickle

import pytest
import safetensors.torch
import torch
from torch.utils.data import DataLoader

from codec import FSQ, CodecModule, MultiPeriodDiscriminator, SpectralEncoder
from codec.checkpoints.building import build_codec
from codec.checkpoints.reading import load_codec
from codec.checkpoints.warm_start import grouped, warm_start
from codec.errors import InvalidValue, UnreadableFile
from tests.support.small_codec import small_codec
from tests.support.training import (
    VoiceData,
    adam,
    discriminators,
    mel_loss,
    module_settings,
    quiet_trainer,
    tiny_module,
    weights,
)


class Validated(VoiceData):
    def val_dataloader(self) -> DataLoader:
        return DataLoader(super().val_dataloader(), batch_size=None)


def block(**changes):
    """The configuration of a small codec; hop, dim, levels, decoder_hop, width."""
    sizes = {"hop": 160, "dim": 16, "levels": [4] * 4, "decoder_hop": 160, "width": 32} | changes
    backbone = {"class_path": "codec.ConvNeXtBackbone", "init_args": {"dim": sizes["dim"], "width": 16, "depth": 1}}
    encoder = {"dim": sizes["dim"], "hop_length": sizes["hop"], "width": sizes["width"], "depth": 1}
    return {
        "class_path": "codec.NeuralCodec",
        "init_args": {
            "encoder": {"class_path": "codec.SpectralEncoder", "init_args": encoder},
            "quantizer": {"class_path": "codec.FSQ", "init_args": {"dim": sizes["dim"], "levels": sizes["levels"]}},
            "decoder": {
                "class_path": "codec.VocosDecoder",
                "init_args": {"backbone": backbone, "hop_length": sizes["decoder_hop"]},
            },
        },
    }


def module_of(config, *, adversary=(), **settings) -> CodecModule:
    codec = build_codec(config)
    loss = mel_loss() if codec.output_sample_rate == 16_000 else None
    given = {"discriminators": adversary, "reconstruction_loss": loss, "optimizer": adam, **settings}
    module = CodecModule(codec, **module_settings(given))
    module.config = {"class_path": "codec.CodecModule", "init_args": {"codec": config}}
    return module


@pytest.fixture
def run(tmp_path):
    """The checkpoint of a run that the command line configured, and its module."""
    torch.manual_seed(7)
    module = module_of(block(), adversary=discriminators())
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(tmp_path / "run.ckpt")
    return tmp_path / "run.ckpt", module


def test_everything_comes_over_but_the_optimizer(run):
    path, source = run
    module = module_of(block(), adversary=discriminators(), init_from=str(path))
    assert all(torch.equal(value, weights(source)[name]) for name, value in weights(module).items())
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, VoiceData())
    assert trainer.global_step == 1
    assert all(state["step"] == 1 for o in trainer.optimizers for state in o.state_dict()["state"].values())


def test_the_load_report_names_what_matched_was_missing_or_left_over(run):
    path, _ = run
    config = block()
    config["init_args"]["encoder"]["init_args"]["depth"] = 2
    module = module_of(config, adversary=[MultiPeriodDiscriminator((2,), (4, 8))])
    with pytest.raises(ValueError, match=r"discriminators\.0\.parts\.0\.\S+ is \["):  # of another kind
        warm_start(module_of(config, adversary=discriminators()[::-1]), path)
    before = weights(module)
    report = warm_start(module, path)
    assert {name.split(".")[3] for name in report.missing} == {"1"}
    assert all(name.startswith("codec.encoder.blocks.1.") for name in report.missing)
    assert {".".join(n.split(".")[:4]) for n in report.left_over} >= {"discriminators.0.parts.1"}
    stored = torch.load(path, weights_only=True)["state_dict"]
    after = module.state_dict()
    assert sorted([*report.matched, *report.missing]) == sorted(after)
    assert sorted([*report.matched, *report.left_over]) == sorted(stored)
    assert report.numbers == sum(after[name].numel() for name in report.matched)
    assert all(torch.equal(after[name], stored[name]) for name in report.matched)
    assert all(torch.equal(after[name], before[name]) for name in report.missing)
    text = str(report)
    assert f"{len(report.matched)} tensors ({report.numbers:,} numbers) matched" in text
    assert f"missing there, kept as initialised: codec.encoder.blocks.1 ({len(report.missing)})" in text
    assert "left over there, not used: discriminators.0.parts.1 (" in text


def test_groups_are_as_short_as_they_can_be():
    assert grouped(["a.b.x", "a.b.y", "a.c"], ["a.d.x", "e"]) == ["a.b (2)", "a.c"]
    assert grouped(["a.b.x", "a.b.y"], []) == ["a (2)"]
    assert grouped([], ["a"]) == []


def test_parts_can_be_chosen(run):
    path, source = run
    module = module_of(block(), adversary=discriminators())
    before = weights(module)
    report = warm_start(module, path, parts=["codec.quantizer", "codec.decoder.backbone"])
    assert set(report.left_over) == set(before) - set(report.matched) and not report.missing
    for name, value in weights(module).items():
        taken = name.startswith(("codec.quantizer.", "codec.decoder.backbone."))
        assert torch.equal(value, (weights(source) if taken else before)[name]), name
    with pytest.raises(
        ValueError, match=r"'codec\.encode' is not in this module; 'codec\.encode' is not in .*run\.ckpt"
    ):
        warm_start(module, path, parts=["codec.encode"])
    with pytest.raises(ValueError, match="'discriminators' is not in this module"):
        warm_start(module_of(block()), path, parts=["codec", "discriminators"][1:])


@pytest.mark.parametrize(("changes", "theirs", "ours"), [
    ({"levels": [8] * 4}, "levels [4, 4, 4, 4]", "levels [8, 8, 8, 8]"),
    ({"levels": [4, 4]}, "levels [4, 4, 4, 4]", "levels [4, 4]"),
    ({"hop": 80, "decoder_hop": 80}, "hop 160", "hop 80"),
    ({"dim": 24}, "width 16", "width 24"),
    ({"decoder_hop": 240}, "decoder hop 160", "decoder hop 240"),
])  # fmt: skip
def test_another_geometry_is_refused_with_both_side_by_side(run, changes, theirs, ours):
    path, _ = run
    with pytest.raises(ValueError) as caught:
        module_of(block(**changes), init_from=str(path))
    there, here = str(caught.value).split(" in the file, ")
    assert f"{theirs}," in there + "," and f"{ours}," in here.replace(" here", ",")
    assert all(word in part for word in ("levels [", "hop ", "width ") for part in (there, here))


def residual(config, *, stages, levels=None):
    """The same codec's configuration with a ResidualFSQ of some stages."""
    changed = copy.deepcopy(config)
    quantizer = changed["init_args"]["quantizer"]
    settings = quantizer["init_args"] | {"stages": stages} | ({"levels": levels} if levels else {})
    changed["init_args"]["quantizer"] = {"class_path": "codec.ResidualFSQ", "init_args": settings}
    return changed


def test_a_residual_fsq_starts_from_a_file_of_fewer_stages_alone(run):
    path, source = run
    finer = module_of(residual(block(), stages=2), adversary=discriminators(), init_from=str(path))
    assert all(torch.equal(value, weights(source)[name]) for name, value in weights(finer).items())
    with pytest.raises(ValueError, match=r"codebooks \[256\],.* in the file, .*codebooks \[81, 81\]"):
        module_of(residual(block(), stages=2, levels=[3] * 4), init_from=str(path))
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(finer, VoiceData())
    trainer.save_checkpoint(path)
    for other in (block(), residual(block(), stages=1)):
        with pytest.raises(ValueError, match=r"codebooks \[256, 256\],.* in the file, .*codebooks \[256\],"):
            module_of(other, init_from=str(path))


def test_a_residual_fsq_of_more_stages_does_not_resume_a_run(run):
    path, _ = run
    finer = module_of(residual(block(), stages=2), adversary=discriminators())
    with pytest.raises(ValueError, match=r"codebooks \[256\],.* in the file, .*codebooks \[256, 256\],"):
        quiet_trainer(max_steps=2).fit(finer, VoiceData(), ckpt_path=path)


def test_another_geometry_is_refused_in_resuming_and_testing(run):
    path, _ = run
    for changes in ({"levels": [8] * 4}, {"dim": 24}):
        with pytest.raises(ValueError, match=r"holds|does not fit this codec: .*levels \[4, 4, 4, 4\].* in the file"):
            quiet_trainer(max_steps=2).fit(
                module_of(block(**changes), adversary=discriminators()), VoiceData(), ckpt_path=path
            )
    quiet_trainer(max_steps=2).fit(module_of(block(), adversary=discriminators()), VoiceData(), ckpt_path=path)


def test_a_stack_of_another_width_inside_is_refused_by_shape(run):
    path, _ = run
    with pytest.raises(ValueError, match=r"encoder\.embed\.weight is \[32, 241, 3\] in the file, \[40, 241, 3\] here"):
        module_of(block(width=40), init_from=str(path))


def test_building_the_files_codec_to_compare_draws_nothing(run):
    path, _ = run
    module = module_of(block())
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    warm_start(module, path, parts=["codec"])
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("prefix", ["", "codec."])
def test_safetensors_of_a_codec(tmp_path, prefix):
    source = small_codec()
    source.quantizer.project_in.weight.data.add_(1.0)
    path = tmp_path / "codec.safetensors"
    safetensors.torch.save_file({prefix + k: v for k, v in source.state_dict().items()}, path)
    module = tiny_module()
    report = warm_start(module, path)
    assert all(torch.equal(v, source.state_dict()[k]) for k, v in module.codec.state_dict().items())
    assert {name.split(".")[0] for name in report.missing} == {"discriminators"}
    assert "shapes were checked" in str(report)
    other = CodecModule(small_codec((4,) * 6), reconstruction_loss=mel_loss())
    with pytest.raises(
        ValueError, match=r"project_in\.weight is \[4, 16\] in the file, \[6, 16\] here.*levels \[4, 4, 4"
    ):
        warm_start(other, path)


def test_safetensors_of_discriminators(tmp_path):
    source = tiny_module().discriminators
    for parameter in source.parameters():
        parameter.data.add_(1.0)
    path = tmp_path / "adversary.safetensors"
    safetensors.torch.save_file(source.state_dict(), path)
    module = tiny_module()
    before = weights(module.codec)
    warm_start(module, path)
    assert all(torch.equal(v, weights(source)[k]) for k, v in weights(module.discriminators).items())
    assert all(torch.equal(v, before[k]) for k, v in weights(module.codec).items())
    with pytest.raises(ValueError, match=r"'codec\.encoder' is not in .*adversary\.safetensors: the file has discrim"):
        warm_start(module, path, parts=["codec.encoder"])


class Attack:
    def __reduce__(self):
        return (print, ("code ran",))


@pytest.mark.parametrize("name", ["a.ckpt", "a.safetensors"])
@pytest.mark.parametrize("write", [
    lambda f: pickle.dump({"state_dict": Attack()}, f),
    lambda f: torch.save({"state_dict": Attack()}, f),
    lambda f: f.write(b"\x10\0\0\0\0\0\0\0{cut"),
    lambda f: f.write(b""),
])  # fmt: skip
def test_damaged_files_and_files_with_code_are_refused(tmp_path, capsys, name, write):
    with (tmp_path / name).open("wb") as file:
        write(file)
    with pytest.raises(ValueError, match=rf"{name} is damaged"):
        tiny_module(init_from=str(tmp_path / name))
    assert "code ran" not in capsys.readouterr().out


def test_a_missing_file_and_one_of_something_else_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"There is no file .*no\.safetensors"):
        tiny_module(init_from=str(tmp_path / "no.safetensors"))
    with pytest.raises(ValueError, match=r"There is no checkpoint .*no\.ckpt"):
        tiny_module(init_from=str(tmp_path / "no.ckpt"))
    safetensors.torch.save_file({"text.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors.*the file has codec\.text"):
        tiny_module(init_from=str(tmp_path / "other.safetensors"))


def test_frozen_parts_stay_as_they_are_and_belong_to_no_optimizer():
    module = tiny_module(frozen_parts=["encoder", "quantizer"])
    before = weights(module.codec)
    trainer = quiet_trainer(max_steps=3, limit_val_batches=1, val_check_interval=1, num_sanity_val_steps=0)
    trainer.fit(module, Validated())
    for name, value in weights(module.codec).items():
        frozen = not name.startswith("decoder.")
        assert torch.equal(value, before[name]) or not frozen, name
    assert any(not torch.equal(v, before[k]) for k, v in weights(module.codec).items())
    assert module.training and module.codec.decoder.training
    assert not any(m.training for part in (module.codec.encoder, module.codec.quantizer) for m in part.modules())
    owned = {id(p) for o in trainer.optimizers for g in o.param_groups for p in g["params"]}
    assert owned.isdisjoint(id(p) for part in module.frozen_parts for p in part.parameters())
    assert len(owned) == len(list(module.codec.decoder.parameters())) + len(list(module.discriminators.parameters()))


def test_parts_that_are_not_there_and_nothing_to_train_are_refused():
    with pytest.raises(ValueError, match="no part 'encodr': it has encoder, quantizer, decoder"):
        tiny_module(frozen_parts=["encodr"])
    with pytest.raises(ValueError, match="leave nothing of the codec to train"):
        tiny_module(frozen_parts=["encoder", "quantizer", "decoder"])


def test_a_new_decoder_at_another_rate_on_a_frozen_encoder(run):
    path, source = run
    config = block(decoder_hop=240)
    module = module_of(
        config,
        frozen_parts=["encoder", "quantizer"],
        init_from=str(path),
        init_parts=["codec.encoder", "codec.quantizer"],
    )
    assert module.codec.output_sample_rate == 24_000
    audio = torch.randn(1, 1, 1600)
    assert torch.equal(module.codec.encode(audio), source.codec.encode(audio))
    assert isinstance(module.codec.encoder, SpectralEncoder) and isinstance(module.codec.quantizer, FSQ)
    fresh = copy.deepcopy(module.codec.decoder.state_dict())
    assert all(torch.equal(v, fresh[k]) for k, v in module.codec.decoder.state_dict().items())


def test_a_saved_codec_with_a_pretrained_part_loads_without_what_it_was_trained_from(tmp_path):
    pytest.importorskip("transformers")
    source = {"class_path": "codec.HubertEncoder"}
    source["init_args"] = {"pretrained": None, "layers": 1, "width": 16, "heads": 2, "channels": 8}
    config = block(decoder_hop=320)
    config["init_args"]["encoder"] = source
    codec = build_codec(copy.deepcopy(config))
    source["init_args"]["pretrained"] = str(tmp_path / "gone")
    state = {f"codec.{k}": v for k, v in codec.state_dict().items()}
    torch.save({"state_dict": state, "model_config": {"init_args": {"codec": config}}}, tmp_path / "a.ckpt")
    audio = 0.1 * torch.randn(1, 1, 640)
    with torch.no_grad():
        assert torch.equal(load_codec(tmp_path / "a.ckpt")(audio).audio, codec.eval()(audio).audio)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_and_nothing_is_copied(tmp_path, value):
    module = tiny_module()
    before = copy.deepcopy(module.state_dict())
    state = {f"codec.{name}": weight.clone() for name, weight in tiny_module().codec.state_dict().items()}
    state["codec.decoder.head.bias"][0] = value
    safetensors.torch.save_file(state, tmp_path / "a.safetensors")
    with pytest.raises(UnreadableFile, match=r"holds NaN or infinite numbers, in codec\.decoder\.head\.bias"):
        warm_start(module, tmp_path / "a.safetensors")
    torch.testing.assert_close(module.state_dict(), before, rtol=0, atol=0)


def test_other_features_of_the_encoder_are_refused(run):
    """Weights for plain log magnitudes mean nothing behind standardised ones, though all shapes are equal."""
    path, _ = run
    changed = block()
    changed["init_args"]["encoder"]["init_args"] |= {"mean": -4.0, "std": 2.3}
    with pytest.raises(
        InvalidValue, match=r"mean of features 0\.0, their std 1\.0.* in the file, .*mean of features -4"
    ):
        module_of(changed, init_from=str(path))
