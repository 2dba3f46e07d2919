"""A training step does not wait for the device: counted on a CPU, from the batch's fetch to the callbacks' end."""

from collections.abc import Callable

import lightning as L
import pytest
import torch

from callbacks import CodebookUsage, CodecEMA, Throughput, TrainingCurves
from codec import (
    FSQ,
    RVQ,
    AWGNChannel,
    BinarySymmetricChannel,
    CodecModule,
    ConvNeXtBackbone,
    ConvolutionalCode,
    EMACodebook,
    FrameErasureChannel,
    FusedEncoder,
    GilbertElliottChannel,
    LearnedCodebook,
    Link,
    MixedChannel,
    NeuralCodec,
    PermutedMap,
    PosteriorMean,
    RepeatLast,
    SemanticReconstruction,
    SpectralEncoder,
    VocosDecoder,
    W2VBertEncoder,
)
from codec.cli.progress_bar import BatchProgressBar
from tests.support.distilling import save_teacher, student_of
from tests.support.synchronisations import Synchronisations, mark, tensors
from tests.support.training import VoiceData, discriminators, mel_loss, module_settings, quiet_trainer, sgd, tiny_module

BATCHES = 4
CHANNEL = "cpu codec/channels/link.py"  # behind a channel it waits for the codes, which are sent on the host


class Watch(L.Callback):
    """Counts synchronisations of each batch, and of the fetch of the next."""

    def __init__(self) -> None:
        self.counter = Synchronisations()

    def on_train_start(self, trainer, pl_module):
        pl_module.to(torch.device("cpu", 0))
        self.counter.__enter__()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.counter.step = trainer.global_step
        for value in tensors(batch):
            mark(value, host=False)

    def on_train_end(self, trainer, pl_module):
        self.counter.__exit__(None, None, None)


def rvq(**options) -> CodecModule:
    module = tiny_module(**options)
    module.codec.quantizer = RVQ(16, [EMACodebook(8, 4), LearnedCodebook(8, 4)], dropout=0.5)
    return module


def through(channel, link: Link | None = None, make: Callable = tiny_module) -> Callable[[], CodecModule]:
    return lambda: make(channel=channel, link=link)


def semantic() -> CodecModule:
    pytest.importorskip("transformers")
    small = dict(hidden_size=32, num_attention_heads=2, intermediate_size=48, output_hidden_size=32)
    torch.manual_seed(0)
    encoder = FusedEncoder(SpectralEncoder(16, width=32, depth=1), W2VBertEncoder(layers=1, config=small), dim=16)
    codec = NeuralCodec(encoder, FSQ(16), VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), 320))
    settings = {"discriminators": discriminators(), "losses": [SemanticReconstruction(16, 32)]}
    return CodecModule(codec, reconstruction_loss=mel_loss(), **module_settings(settings))


def waits(module: CodecModule, *callbacks: L.Callback, **settings) -> list[list[str]]:
    """What each batch after the first waited for."""
    watch = Watch()
    watchers = [watch, CodecEMA(), CodebookUsage(), Throughput(), TrainingCurves(), *callbacks]
    settings = {"log_every_n_steps": 50} | settings
    quiet_trainer(max_steps=BATCHES, callbacks=watchers, **settings).fit(module, VoiceData())
    return [watch.counter.at(step) for step in range(1, BATCHES)]


KINDS = {
    "fsq": tiny_module,
    "cropped": lambda: tiny_module(discriminator_crop=960),
    "rvq": rvq,
    "semantic": semantic,
}
SOFT = AWGNChannel(3.0, soft=True)
CHANNELS = {
    "bit errors": through(BinarySymmetricChannel(0.1)),
    "mixed": through(
        MixedChannel([BinarySymmetricChannel(0.1), FrameErasureChannel(0.1, 3.0), SOFT, GilbertElliottChannel(0.05)]),
        Link(index_map=PermutedMap(), concealment=RepeatLast()),
        rvq,
    ),
    "soft": through(SOFT, Link(concealment=PosteriorMean())),
    "coded": through(BinarySymmetricChannel(0.1), Link(code=ConvolutionalCode(), protected_bits=[0, 3])),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_waits_for_nothing(kind):
    """Not for the gradients' finiteness either: a fused optimizer skips its step on the device."""
    assert waits(KINDS[kind]()) == [[]] * (BATCHES - 1)


def test_a_step_of_distillation_waits_for_nothing(tmp_path):
    assert waits(student_of(save_teacher(tmp_path / "teacher.ckpt", "RVQ"))) == [[]] * (BATCHES - 1)


def test_an_optimizer_that_is_not_fused_waits_for_finiteness_once_a_step():
    for places in waits(tiny_module(optimizer=sgd)):
        assert len(places) == 1 and "codec/training/optimizers.py" in places[0]


@pytest.mark.parametrize("kind", CHANNELS)
def test_training_through_a_channel_waits_once_for_all_clips(kind):
    for places in waits(CHANNELS[kind]()):
        assert len(places) == 1 and places[0].startswith(CHANNEL), places


def test_the_progress_bar_reads_values_at_the_trainers_interval(capsys):
    """The first batch shows the loss; then every second batch reads all values, for the bar and for the loggers."""
    bar = BatchProgressBar()
    second, third, fourth = waits(tiny_module(), bar, enable_progress_bar=True, log_every_n_steps=2)
    assert second and fourth and not third
    assert bar.train_progress_bar.postfix.startswith("mel=")


def test_the_counter_finds_each_kind_of_wait():
    device, host = torch.rand(4), torch.rand(4)
    mark(host, host=True)
    with Synchronisations() as counter:
        for wait in (
            lambda: device.sum().item(), lambda: bool(device[0] > 0), lambda: device.tolist(), lambda: device.cpu(),
            lambda: device[device > 0], lambda: device.nonzero(), lambda: device.unique(), lambda: float(device[0]),
            lambda: host.to(device.device), lambda: torch.tensor([1.0], device=device.device),
            lambda: device.to(host.device), lambda: torch.equal(device, device),
            lambda: torch.repeat_interleave(device, (device > 0).long()),
        ):  # fmt: skip
            before = len(counter.found)
            wait()
            assert len(counter.found) == before + 1, counter.found[before:]
        before = len(counter.found)
        for free in (
            lambda: host.sum().item(), lambda: int(torch.randint(9, ())), lambda: host[host > 0],
            lambda: host.to(device.device, non_blocking=True), lambda: torch.where(device > 0, device, 0.0),
            lambda: torch.zeros(3, device=device.device) + device[:3], lambda: device.cpu().tolist,
            lambda: torch.rand(4) < 0.5, lambda: device.to(torch.float64),
        ):  # fmt: skip
            free()
        assert len(counter.found) == before + 1  # of `device.cpu()`, whose copy is then read freely
