"""Checkpoints of modules that Python alone has made: they state their codec, and load without the command line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

import codec as package
from codec import (
    FSQ,
    RVQ,
    Adversary,
    CodecModule,
    ConvNeXtBackbone,
    Dithered,
    DoubleTanhBound,
    EMACodebook,
    Encoder,
    InvalidValue,
    LearnedCodebook,
    MelEncoder,
    NeuralCodec,
    ResidualFSQ,
    SpectralEncoder,
    StudentEncoder,
    TransformerBackbone,
    UnreadableFile,
    VocosDecoder,
    load_codec,
    save_codec,
)
from codec.checkpoints.building import build_codec
from codec.hub.packing import pack_codec
from codec.layers.construction import construction
from tests.support.small_codec import small_codec
from tests.support.training import VoiceData, discriminators, quiet_trainer, tiny_module, voice, weights

PARTS = {
    "fsq": (lambda: SpectralEncoder(16, 160, width=32, depth=1), lambda: FSQ(16, (4, 3), bound=DoubleTanhBound())),
    "rvq": (lambda: MelEncoder(16, 160, width=32), lambda: RVQ(16, [LearnedCodebook(8, 4), EMACodebook(4, 16)])),
    "residual": (
        lambda: StudentEncoder(16, (4, 8), strides=(4,), depths=[1, 1], attention_stride=40, heads=1),
        lambda: ResidualFSQ(16, [np.int64(4)] * 2, stages=2, rounding=Dithered(0.5, 0.5, noise=0.0), dropout=0.25),
    ),
}  # fmt: skip


def make_codec(kind: str) -> NeuralCodec:
    torch.manual_seed(4)
    encoder, quantizer = PARTS[kind]
    backbone = TransformerBackbone(16, 32, depth=1, heads=2) if kind == "rvq" else ConvNeXtBackbone(16, 32, depth=1)
    return NeuralCodec(encoder(), quantizer(), VocosDecoder(backbone, hop_length=160))


def fit(module: CodecModule, path: Path) -> Path:
    trainer = quiet_trainer(max_steps=1)
    trainer.fit(module, VoiceData())
    trainer.save_checkpoint(path)
    return path


def check_same(found: NeuralCodec, expected: NeuralCodec) -> None:
    audio, expected = voice(7), expected.eval()
    assert not found.training and construction(found) == construction(expected)
    with torch.no_grad():
        assert torch.equal(found.encode(audio), expected.encode(audio))
        assert torch.equal(found(audio).audio, expected(audio).audio)


@pytest.mark.parametrize("kind", sorted(PARTS))
def test_a_checkpoint_of_a_plain_fit_loads(kind: str, tmp_path: Path) -> None:
    codec = make_codec(kind)
    reconstruction = package.MultiScaleMelLoss(16_000, (128,), mels=(10,))
    module = CodecModule(codec, reconstruction_loss=reconstruction)
    path = fit(module, tmp_path / "run.ckpt")
    check_same(load_codec(path), codec)
    restored = CodecModule.load_from_checkpoint(path, reconstruction_loss=reconstruction)
    check_same(restored.codec.eval(), codec)
    pack_codec(path, tmp_path / "small.safetensors", full=True)
    check_same(load_codec(tmp_path / "small.safetensors"), codec)
    fit(CodecModule(restored.codec.train(), reconstruction_loss=reconstruction), tmp_path / "again.ckpt")
    assert construction(load_codec(tmp_path / "again.ckpt")) == construction(codec)


def test_what_a_file_may_not_build_is_given_or_left_out_by_name(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    module = tiny_module()
    path = fit(module, tmp_path / "run.ckpt")
    bare = CodecModule.load_from_checkpoint(path)
    assert "without discriminators (" in caplog.text
    assert all(torch.equal(value, module.state_dict()[name]) for name, value in weights(bare).items())
    whole = CodecModule.load_from_checkpoint(str(path), adversary=Adversary(discriminators()))
    assert weights(whole).keys() == weights(module).keys()
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(module).items())
    with pytest.raises(UnreadableFile, match="another architecture"):
        CodecModule.load_from_checkpoint(path, adversary=Adversary(discriminators() + discriminators()))
    with pytest.raises(InvalidValue, match="does not fit this codec"):
        CodecModule.load_from_checkpoint(path, codec=small_codec((5, 5)))
    with pytest.raises(InvalidValue, match="hparams_file"):
        CodecModule.load_from_checkpoint(path, hparams_file="a.yaml")
    clips = DataLoader([{"audio": voice(3), "id": ["a"]}], batch_size=None)
    quiet_trainer(limit_val_batches=2).validate(bare, clips, verbose=False)


def test_a_pretrained_codec_makes_a_module() -> None:
    module = CodecModule.load_from_checkpoint("small_fsq")
    check_same(module.codec.eval(), load_codec("small_fsq"))


def test_a_student_loads_with_its_teacher(tmp_path: Path) -> None:
    teacher = fit(tiny_module(), tmp_path / "teacher.ckpt")
    torch.manual_seed(9)
    module = package.DistillationModule(str(teacher), MelEncoder(16, 160, width=24), distillation_start=0)
    path = fit(module, tmp_path / "student.ckpt")
    check_same(load_codec(path), module.codec)
    with pytest.raises(InvalidValue, match="needs teacher"):
        package.DistillationModule.load_from_checkpoint(path)
    restored = package.DistillationModule.load_from_checkpoint(path, teacher=str(teacher))
    check_same(restored.codec.eval(), module.codec)


class OwnEncoder(Encoder):
    """A part of a user's own, outside the package."""

    def __init__(self, dim: int, gains: dict[str, float], *names: str, hop: int = 160, **further: int) -> None:
        super().__init__()
        self.dim, self.hop_length = dim, hop
        self.conv = torch.nn.Conv1d(1, dim, hop, stride=hop)

    def forward(self, audio: Tensor) -> Tensor:
        return self.conv(audio)


def own_codec(*arguments: object, kind: type[Encoder] = OwnEncoder) -> NeuralCodec:
    codec = small_codec()
    return NeuralCodec(kind(16, *arguments), codec.quantizer, codec.decoder)  # type: ignore[arg-type]


def test_a_part_of_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gains = {"a": 0.5}
    codec = own_codec(gains)
    gains["a"] = 1.0  # the caller may change what it has passed
    stated = construction(codec)["init_args"]["encoder"]
    assert stated == {
        "class_path": f"{__name__}.OwnEncoder",
        "init_args": {"dim": 16, "gains": {"a": 0.5}, "hop": 160},
    }
    path = fit(CodecModule(codec), tmp_path / "own.ckpt")
    check_same(load_codec(path), codec)
    monkeypatch.delattr(f"{__name__}.OwnEncoder")  # as in a process that has not imported it
    with pytest.raises(UnreadableFile, match="CODEC_PARTS"):
        load_codec(path)
    with pytest.raises(UnreadableFile, match="CODEC_PARTS"):
        CodecModule.load_from_checkpoint(path)


def test_what_a_file_cannot_state_is_said_when_it_is_written(tmp_path: Path) -> None:
    class Local(OwnEncoder):
        pass

    for codec, reason in [
        (own_codec({}, kind=Local), "top level of a module"),
        (own_codec({"a": torch.zeros(1)}), "gains of OwnEncoder is a Tensor"),
        (own_codec({}, "b"), r"takes \*names"),
    ]:
        with pytest.warns(UserWarning, match=reason):
            path = fit(CodecModule(codec), tmp_path / "run.ckpt")
        with pytest.raises(UnreadableFile):
            load_codec(path)
        with pytest.raises(UnreadableFile, match="pass codec=…"):
            CodecModule.load_from_checkpoint(path)
        assert CodecModule.load_from_checkpoint(path, codec=codec).codec is codec
        with pytest.raises(InvalidValue, match=reason):
            save_codec(codec, tmp_path / "codec.safetensors")


def test_a_part_that_was_exchanged_later_is_stated_as_it_is(tmp_path: Path) -> None:
    codec = small_codec()
    codec.encoder = MelEncoder(16, 160, width=24)
    codec.decoder.backbone = ConvNeXtBackbone(16, 32, depth=2)  # type: ignore[union-attr]
    save_codec(codec, tmp_path / "new" / "codec.safetensors")
    check_same(load_codec(tmp_path / "new" / "codec.safetensors"), codec)
    check_same(build_from(torch.load(_pickled(codec, tmp_path), weights_only=False)), codec)


def build_from(codec: NeuralCodec) -> NeuralCodec:
    """A codec built from what another one states, with its weights."""
    built = build_codec(construction(codec))
    built.load_state_dict(codec.state_dict())
    return built.eval()


def _pickled(codec: NeuralCodec, folder: Path) -> Path:
    torch.save(codec, folder / "codec.pt")
    return folder / "codec.pt"


def test_saving_refuses_in_one_sentence(tmp_path: Path) -> None:
    codec = small_codec()
    with pytest.raises(InvalidValue, match=r"must end in \.safetensors"):
        save_codec(codec, tmp_path / "codec.pt")
    (tmp_path / "file").touch()
    with pytest.raises(UnreadableFile, match="cannot be written"):
        save_codec(codec, tmp_path / "file" / "codec.safetensors")
    codec.decoder.head.bias.data[0] = float("nan")  # type: ignore[union-attr, operator]
    with pytest.raises(UnreadableFile, match="NaN"):
        save_codec(codec, tmp_path / "codec.safetensors")
    assert list(tmp_path.glob("*.safetensors")) == []
