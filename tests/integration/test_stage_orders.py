"""One module through `fit`, `validate`, `test` and `predict` in every order: no stage breaks another."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

import callbacks
from codec import (
    FSQ,
    RVQ,
    AcousticEncoder,
    BinarySwitchingMap,
    BinarySymmetricChannel,
    CodecModule,
    ConvNeXtBackbone,
    DistillationModule,
    EMACodebook,
    InvalidValue,
    LearnedCodebook,
    Link,
    MelEncoder,
    NeuralCodec,
    ResidualFSQ,
    SpectralEncoder,
    VocosDecoder,
    save_codec,
)
from codec.training.lightning_internals import attached_trainer
from tests.support.small_codec import small_codec
from tests.support.training import (
    Batches,
    VoiceData,
    adam,
    discriminators,
    mel_loss,
    module_settings,
    quiet_trainer,
    voice,
)

# Every ordered pair of stages, a stage after itself included, follows in it.
CHAIN = """validate validate fit fit test test predict predict validate test fit validate predict fit predict test
    validate""".split()


class Clips(VoiceData):
    """Two training batches, and two clips for each of the other stages."""

    def setup(self, stage: str) -> None:
        self.stage = stage

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Batches(self), batch_size=None)

    def _clips(self) -> DataLoader:
        clips = [{"audio": voice(10**6 + i, size=1, samples=8000 + 77 * i), "id": [f"clip{i}"]} for i in range(2)]
        return DataLoader([clip | {"path": ["x.wav"], "speaker": [""]} for clip in clips], batch_size=None)

    val_dataloader = test_dataloader = predict_dataloader = _clips  # type: ignore[assignment]


def usual_callbacks(folder: Path, *, drawing: bool) -> list[Any]:
    """What `train.py` adds to every run, in small; `drawing` those that take seconds."""
    chosen: list[Any] = [
        callbacks.ChannelEvaluation(
            bit_error_rates=(0.0, 0.1), metrics=[callbacks.SISDR(), callbacks.MelDistance()], fit_clips=2,
            audio_clips=0, num_workers=0, bootstrap=0,
        ),
        callbacks.RunCheckpoint(every_n_batches=1, dirpath=str(folder / "checkpoints")),
        callbacks.CodecEMA(decay=0.5),
        callbacks.CodebookUsage(every_n_batches=1),
        callbacks.Throughput(every_n_batches=1),
        callbacks.PredictionWriter(str(folder / "predictions")),
    ]  # fmt: skip
    return (
        [*chosen, callbacks.TrainingCurves(every_n_batches=1), callbacks.Preflight(memory=False)] if drawing else chosen
    )


def module_around(codec: NeuralCodec, **changes: Any) -> CodecModule:
    settings = {"reconstruction_loss": mel_loss(), "optimizer": adam, "discriminator_optimizer": adam, "seed": 3,
                "discriminators": discriminators()} | changes  # fmt: skip
    return CodecModule(codec, **module_settings(settings))


def decoder() -> VocosDecoder:
    return VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), 160)


def rvq_module(_: Path) -> CodecModule:
    quantizer = RVQ(16, [EMACodebook(8, 16), LearnedCodebook(8, 4)], dropout=0.5)
    return module_around(NeuralCodec(MelEncoder(16, 160, width=24), quantizer, decoder()))


def aliased_module(_: Path) -> CodecModule:
    encoder = AcousticEncoder(16, 4, strides=(4, 5, 8), dilations=(1,))  # keeps its filters' matrices
    through = {"channel": BinarySymmetricChannel(0.05), "link": Link(index_map=BinarySwitchingMap())}
    return module_around(NeuralCodec(encoder, FSQ(16, (4, 4)), decoder()), **through)


def student(folder: Path) -> CodecModule:
    torch.manual_seed(2)
    teacher = NeuralCodec(SpectralEncoder(16, 160, width=32, depth=1), ResidualFSQ(16, (4, 4), stages=2), decoder())
    save_codec(teacher, folder / "teacher.safetensors")
    encoder = MelEncoder(16, 160, width=24)
    return DistillationModule(
        str(folder / "teacher.safetensors"), encoder, distillation_start=0, reconstruction_loss=mel_loss()
    )


MODULES: dict[str, Callable[[Path], CodecModule]] = {
    "fsq": lambda _: module_around(small_codec()), "rvq": rvq_module, "anti-aliased": aliased_module,
    "student": student,
}  # fmt: skip


def run_stage(module: CodecModule, stage: str, folder: Path, *, drawing: bool = False) -> None:
    previous = attached_trainer(module)
    assert previous is None or previous.state.finished
    limits = {"limit_val_batches": 1.0, "max_steps": 2, "val_check_interval": 2, "check_val_every_n_epoch": None}
    trainer = quiet_trainer(
        callbacks=usual_callbacks(folder, drawing=drawing),
        enable_checkpointing=True,
        default_root_dir=str(folder),
        **limits,
    )
    options = {} if stage == "fit" else {"return_predictions": False} if stage == "predict" else {"verbose": False}
    getattr(trainer, stage)(module, datamodule=Clips(), **options)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("kind", sorted(MODULES))
def test_stages_follow_each_other_in_every_order(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    module = MODULES[kind](tmp_path)
    assert len(set(itertools.pairwise(CHAIN))) == 16
    for number, stage in enumerate(CHAIN):
        folder = tmp_path / str(number)
        folder.mkdir()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        run_stage(module, stage, folder, drawing=number == 2)
        kept = [*module.state_dict().values(), *module.buffers()]
        assert not any(value.is_inference() for value in kept), f"{stage} leaves inference tensors"
        changed = any(not torch.equal(value, module.state_dict()[name]) for name, value in before.items())
        assert changed == (stage == "fit"), stage


@pytest.mark.parametrize("stage", ["validate", "test"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_follows_an_evaluation(stage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    module = module_around(small_codec())
    for number, name in enumerate((stage, "fit", stage, "fit")):
        (tmp_path / str(number)).mkdir()
        run_stage(module, name, tmp_path / str(number))


@pytest.mark.parametrize("kind", sorted(MODULES))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_follows_use_in_inference_mode(kind: str, tmp_path: Path) -> None:
    module = MODULES[kind](tmp_path)
    with torch.inference_mode():
        module.codec(voice(5))
        codes = module.codec.encode(voice(5))
        connection = Link().connect(module.codec.quantizer)
        module.codec.decode(codes)
        connection.transmit(codes, BinarySymmetricChannel(0.1), torch.Generator().manual_seed(0))
        module.reconstruction_loss.distance(voice(5), voice(6))
        if isinstance(module, DistillationModule):
            module.teach(voice(5))
    quiet_trainer(max_steps=2).fit(module, VoiceData())


def test_a_module_made_in_inference_mode_says_what_is_wrong(tmp_path: Path) -> None:
    with torch.inference_mode():
        codec = small_codec()
    with pytest.raises(InvalidValue, match="inference_mode"):
        quiet_trainer(max_steps=1).fit(CodecModule(codec), VoiceData())
