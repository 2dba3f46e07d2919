"""A training step waits for the device at most once: counted on a CPU, from the batch's fetch to the callbacks' end."""

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
from tests.support.training import VoiceData, discriminators, mel_loss, module_settings, quiet_trainer, tiny_module

BATCHES = 4
FINITENESS = "codec/training/alternating.py"  # the one place that may wait, for whether the gradients are finite
CHANNEL = "cpu codec/channels/link.py"  # and, behind a channel, for the codes, which are sent on the host


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
    assert all(any(FINITENESS in place for place in watch.counter.at(step)) for step in range(BATCHES))
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
def test_a_step_waits_for_finiteness_alone(kind):
    for places in waits(KINDS[kind]()):
        assert not [place for place in places if FINITENESS not in place]


def test_a_step_of_distillation_waits_for_finiteness_alone(tmp_path):
    for places in waits(student_of(save_teacher(tmp_path / "teacher.ckpt", "RVQ"))):
        assert not [place for place in places if FINITENESS not in place]


@pytest.mark.parametrize("kind", CHANNELS)
def test_training_through_a_channel_waits_once_more_for_all_clips(kind):
    for places in waits(CHANNELS[kind]()):
        others = [place for place in places if FINITENESS not in place]
        assert len(others) == 1 and others[0].startswith(CHANNEL), others


def test_the_progress_bar_reads_values_at_the_trainers_interval(capsys):
    """The first batch shows the loss; then every second batch reads all values, for the bar and for the loggers."""
    bar = BatchProgressBar()
    second, third, fourth = waits(tiny_module(), bar, enable_progress_bar=True, log_every_n_steps=2)
    read = [[place for place in places if FINITENESS not in place] for places in (second, third, fourth)]
    assert read[0] and read[2] and not read[1]
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
