"""CPU against device in float32 without TF32: codes, latents, audio, discriminators, losses, a step, channels."""

import copy
import importlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from codec import (
    FSQ,
    AcousticEncoder,
    AWGNChannel,
    BinarySymmetricChannel,
    Channel,
    ConvNeXtBackbone,
    FrameErasureChannel,
    GilbertElliottChannel,
    GrayMap,
    Link,
    MultiPeriodDiscriminator,
    MultiResolutionSpectrogramDiscriminator,
    MultiScaleMelLoss,
    NeuralCodec,
    PacketLossChannel,
    PosteriorMean,
    RepeatLast,
    ResidualFSQ,
    StudentEncoder,
    TransformerBackbone,
    VocosDecoder,
    load_codec,
)
from codec.channels import draw_generator
from tests.gpu.acceptance.report import Report
from tests.gpu.acceptance.setting import Setting, adversarial, build_module, full_float32, model_block
from tests.gpu.acceptance.signals import crops
from tests.gpu.acceptance.steps import Watch, fit, signal_data

CODES_EQUAL, RELATIVE = 0.999, 1e-4
PUBLISHED = "BigCodecPeriodDiscriminator", "BigCodecSpectrogramDiscriminator"  # where the package has them
CHANNELS: list[Channel] = [
    BinarySymmetricChannel(0.1),
    GilbertElliottChannel(0.05, 10),
    FrameErasureChannel(0.2),
    PacketLossChannel(0.2, 3, burst_length=2),
    AWGNChannel(2.0, soft=True),
]


def relative_error(found: Tensor, reference: Tensor) -> float:
    """‖found − reference‖ / ‖reference‖ in float64 on the CPU; NaN where one of them has a NaN."""
    found, reference = found.detach().double().cpu(), reference.detach().double().cpu()
    return float((found - reference).norm() / reference.norm().clamp_min(1e-30))


def moved(module: nn.Module, device: torch.device) -> Any:
    """A copy of a module on a device."""
    return copy.deepcopy(module).to(device)


def full_codec(setting: Setting) -> NeuralCodec:
    """The convolutional encoder and the transformer decoder; in a small run narrow ones."""
    width, backbone = setting.pick((32, 512), (2, 32))
    encoder = AcousticEncoder(64, width)
    decoder = VocosDecoder(TransformerBackbone(64, backbone, depth=setting.pick(4, 1), heads=4), 320)
    return NeuralCodec(encoder, FSQ(64), decoder)


def codecs(setting: Setting) -> dict[str, Callable[[], NeuralCodec]]:
    """What is compared, each with weights from a seed or pretrained ones."""
    decoder = ConvNeXtBackbone(32, 64, depth=2)
    return {
        "acoustic encoder, FSQ, transformer": lambda: full_codec(setting),
        "small FSQ, pretrained": lambda: load_codec("small_fsq"),
        "small RVQ, pretrained": lambda: load_codec("small_rvq"),
        "mel student, pretrained": lambda: load_codec("small_student"),
        "L3AC student, residual FSQ": lambda: NeuralCodec(
            StudentEncoder(32), ResidualFSQ(32, [4, 4, 4, 4], stages=2), VocosDecoder(decoder, 320)
        ),
    }


@torch.no_grad()
def compare_codec(name: str, codec: NeuralCodec, audio: Tensor, *, setting: Setting, report: Report) -> None:
    """Codes, latents and audio of one codec; audio is decoded from the CPU's codes on both."""
    codec = codec.eval()
    there = moved(codec, setting.device)
    latents, found_latents = codec.encode_latents(audio), there.encode_latents(audio.to(setting.device))
    codes, found = codec.quantizer(latents).codes, there.quantizer(found_latents).codes.cpu()
    report.at_most(f"{name}: latents, relative error", relative_error(found_latents, latents), RELATIVE)
    report.at_least(f"{name}: frames with equal codes", float((codes == found).all(1).double().mean()), CODES_EQUAL)
    error = relative_error(there.decode(codes.to(setting.device)), codec.decode(codes))
    report.at_most(f"{name}: audio, relative error", error, RELATIVE)


def discriminators(setting: Setting) -> dict[str, nn.Module]:
    """Both kinds of this project, and the published ones where the package has them."""
    periods, transforms = setting.pick(((), ()), (((2, 3), (4, 8)), ((78, 126), (4, 8))))
    found: dict[str, nn.Module] = {
        "multi-period": MultiPeriodDiscriminator(*periods),
        "multi-resolution": MultiResolutionSpectrogramDiscriminator(*transforms[:1], *setting.pick((), (4,))),
    }
    package = importlib.import_module("codec")
    for name, arguments in zip(PUBLISHED, (periods, transforms), strict=True):
        if hasattr(package, name):
            found[name] = getattr(package, name)(*arguments)
    return found


def compare_discriminator(name: str, module: nn.Module, audio: Tensor, *, setting: Setting, report: Report) -> None:
    """Scores, and the gradient of their mean square with respect to the audio."""
    results = []
    for device in (torch.device("cpu"), setting.device):
        there = moved(module, device)
        wave = audio.detach().clone().to(device).requires_grad_()
        scores = [output.score for output in there(wave)]
        torch.stack([score.square().mean() for score in scores]).sum().backward()
        assert wave.grad is not None
        results.append((torch.cat([score.flatten() for score in scores]), wave.grad))
    (scores, gradient), (found, found_gradient) = results
    report.at_most(f"{name} discriminator: scores, relative error", relative_error(found, scores), RELATIVE)
    report.at_most(
        f"{name} discriminator: gradient, relative error", relative_error(found_gradient, gradient), 10 * RELATIVE
    )


def compare_mel(audio: Tensor, *, setting: Setting, report: Report) -> None:
    """The multi-scale mel loss."""
    loss, other = MultiScaleMelLoss(), audio.roll(1, 0)
    expected = loss.distance(other, audio)
    found = loss.to(setting.device).distance(other.to(setting.device), audio.to(setting.device))
    report.at_most("mel loss, relative error", relative_error(found, expected), RELATIVE)


def compare_steps(setting: Setting, report: Report) -> None:
    """Loss of the first batch, and of the second behind one step of both optimizers."""
    found = []
    for accelerator in ("cpu", setting.accelerator):
        module = build_module(adversarial(model_block("small/fsq"), setting))
        data = signal_data(module, setting, size=2, seconds=0.5)
        watch = Watch(torch.device("cpu") if accelerator == "cpu" else setting.device)
        fit(module, setting, data=data, batches=2, callbacks=[watch], accelerator=accelerator)
        found.append(watch.values())
    for name, expected, measured in zip(("first batch", "batch after one step"), *found, strict=True):
        report.at_most(f"loss of the {name}, relative error", abs(measured / expected - 1), RELATIVE)


@torch.no_grad()
def compare_channels(audio: Tensor, *, setting: Setting, report: Report) -> None:
    """Codes and latents behind each channel, the codes sent from the device."""
    quantizer = load_codec("small_fsq").quantizer
    codes = load_codec("small_fsq").encode(audio)
    for channel in CHANNELS:
        received = []
        for device in (torch.device("cpu"), setting.device):
            link = Link(index_map=GrayMap(), concealment=PosteriorMean(RepeatLast()))
            connection = link.connect(moved(quantizer, device))
            sent = connection.send(codes.to(device)).cpu()
            generators = [draw_generator(0, f"clip {number}", channel.family, 0) for number in range(len(sent))]
            bits = torch.stack([channel(clip, generator) for clip, generator in zip(sent, generators, strict=True)])
            reception = connection.receive(bits.to(device))
            received.append((reception.codes.cpu(), connection.latents(reception).cpu()))
        (expected, latents), (found, found_latents) = received
        name = f"{channel.name}: received"
        report.at_least(f"{name} codes equal", float((expected == found).double().mean()), 1.0)
        report.at_most(f"{name} latents, relative error", relative_error(found_latents, latents), RELATIVE)


def run(setting: Setting, report: Report) -> None:
    """Compare all of them on fresh speech-like audio."""
    seconds = setting.pick(4.0, 0.5)
    (audio,) = crops(1, size=2, seconds=seconds, rates=(16_000,), clips=setting.pick(16, 3))
    with full_float32():
        for name, make in codecs(setting).items():
            torch.manual_seed(0)
            compare_codec(name, make(), audio, setting=setting, report=report)
        torch.manual_seed(0)
        for name, module in discriminators(setting).items():
            compare_discriminator(name, module, audio[..., :16_000], setting=setting, report=report)
        compare_mel(audio, setting=setting, report=report)
        compare_steps(setting, report)
        compare_channels(audio, setting=setting, report=report)
