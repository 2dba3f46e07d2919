"""BigCodec's discriminators against a plain reference written here, at full width; and what all discriminators keep."""

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import codec
from codec import BigCodecPeriodDiscriminator, BigCodecSpectrogramDiscriminator, InvalidValue
from codec.training import discriminators
from codec.training.discriminators.bigcodec import SpectrogramSubDiscriminator
from tests.support.operators import OperatorNames

N_FFTS = (78, 126, 206, 334, 542, 876, 1418, 2296)
PERIODS = (2, 3, 5, 7, 11)
BOTH = [BigCodecPeriodDiscriminator, BigCodecSpectrogramDiscriminator]


def weights(part: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of each convolution from the first to the score's, weight norm multiplied out."""
    state = dict(part.named_parameters())
    for name in [*(f"layers.{i}" for i in range(5)), "score"]:
        gain = state[f"{name}.parametrizations.weight.original0"]
        direction = state[f"{name}.parametrizations.weight.original1"]
        norm = direction.square().sum((1, 2, 3), keepdim=True).sqrt()
        yield gain * direction / norm, state[f"{name}.bias"]


def reference_period(part: nn.Module, audio: Tensor, period: int) -> list[Tensor]:
    """Outputs of all six convolutions, activated but for the last."""
    batch, _, length = audio.shape
    if length % period:
        audio = F.pad(audio, (0, period - length % period), mode="reflect")
    x = audio.reshape(batch, 1, -1, period)
    outputs = []
    for i, (weight, bias) in enumerate(weights(part)):
        stride, padding = (3 if i < 4 else 1), (2 if i < 5 else 1)
        x = F.conv2d(x, weight, bias, stride=(stride, 1), padding=(padding, 0))
        if i < 5:
            x = torch.where(x > 0, x, 0.1 * x)
        outputs.append(x)
    return outputs


def reference_spectrogram(part: nn.Module, audio: Tensor, n_fft: int) -> list[Tensor]:
    window = torch.hann_window(n_fft).to(audio.dtype)
    spectrum = torch.stft(audio[:, 0], n_fft, n_fft // 2, n_fft, window, center=True, pad_mode="reflect",
                          return_complex=True)  # fmt: skip
    x = torch.clamp(spectrum.real**2 + spectrum.imag**2, min=1e-7, max=1e3).sqrt()[:, None]
    outputs = []
    for i, (weight, bias) in enumerate(weights(part)):
        x = F.conv2d(x, weight, bias, stride=2 if i < 4 else 1, padding=2 if i < 4 else 1)
        if i < 5:
            x = torch.where(x > 0, x, 0.2 * x)
        outputs.append(x)
    return outputs


CASES = [
    *((BigCodecPeriodDiscriminator, reference_period, i, period) for i, period in enumerate(PERIODS)),
    *((BigCodecSpectrogramDiscriminator, reference_spectrogram, i, n_fft) for i, n_fft in enumerate(N_FFTS)),
]


@pytest.mark.parametrize(("kind", "reference", "place", "size"), CASES)
@pytest.mark.parametrize("length", [2310, 1499])  # 2310 is a multiple of all periods, 1499 of none
def test_outputs_and_gradients_equal_the_reference(kind, reference, place, size, length):
    torch.manual_seed(0)
    part = kind().parts[place].double()
    audio = torch.randn(2, 1, length, dtype=torch.float64, requires_grad=True)
    expected = reference(part, audio, size)
    output = part(audio)
    found = [*output.features, output.score]
    assert len(output.features) == 5
    assert output.score.shape[:2] == (2, 1)
    slopes = [torch.randn_like(x) for x in expected]
    inputs = [audio, *part.parameters()]
    gradients = [torch.autograd.grad(outputs, inputs, slopes) for outputs in (found, expected)]
    for ours, theirs in [*zip(found, expected, strict=True), *zip(*gradients, strict=True)]:
        assert ours.shape == theirs.shape
        assert (ours - theirs).norm() <= 1e-9 * theirs.norm()


SHAPES = {
    BOTH[0]: [(16, 1, 5, 1), (64, 16, 5, 1), (256, 64, 5, 1), (512, 256, 5, 1), (512, 512, 5, 1), (1, 512, 2, 1)],
    BOTH[1]: [(32, 1, 5, 5), (64, 32, 5, 5), (128, 64, 5, 5), (256, 128, 5, 5), (512, 256, 3, 3), (1, 512, 3, 3)],
}


@pytest.mark.parametrize(
    ("kind", "sizes", "parameters"), [(BOTH[0], PERIODS, 10_284_730), (BOTH[1], N_FFTS, 18_097_936)]
)
def test_defaults_are_the_published_sizes(kind, sizes, parameters):
    module = kind()
    assert [getattr(part, "period", None) or part.n_fft for part in module.parts] == list(sizes)
    assert all([tuple(weight.shape) for weight, _ in weights(part)] == SHAPES[kind] for part in module.parts)
    assert sum(p.numel() for p in module.parameters()) == parameters


@pytest.mark.parametrize("kind", BOTH)
def test_initial_weights_are_pytorchs_default(kind):
    """Uniform within 1 / √fan-in, whose standard deviation is 1 / √(3 fan-in); the widest layer's is far from 0.02."""
    torch.manual_seed(0)
    for part in kind().parts:
        for weight, bias in weights(part):
            bound = weight[0].numel() ** -0.5
            relative = 1 / weight.numel() ** 0.5  # of the estimate, four times too large for a uniform distribution
            assert weight.std().item() == pytest.approx(bound / 3**0.5, rel=3 * relative)
            assert max(weight.abs().max(), bias.abs().max()) <= 1.0001 * bound


def test_silence_and_clipped_powers_have_finite_gradients():
    part = SpectrogramSubDiscriminator(64, (2, 2))
    silence = torch.zeros(1, 256, requires_grad=True)
    magnitude = part.magnitude(silence)
    assert magnitude.detach() == pytest.approx(torch.full_like(magnitude, 1e-7**0.5))
    magnitude.sum().backward()
    assert torch.equal(silence.grad, torch.zeros_like(silence))
    loud = part.magnitude(1000 * torch.randn(1, 256))
    assert loud.max().item() == pytest.approx(1e3**0.5)


def test_magnitudes_are_float32_under_autocast():
    part = SpectrogramSubDiscriminator(126, (2, 2))
    audio = torch.randn(1, 1000)
    with torch.autocast("cpu", torch.bfloat16):
        found = part.magnitude(audio)
        halved = part.magnitude(audio.bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, part.magnitude(audio))
    assert halved.dtype == torch.bfloat16
    assert torch.equal(halved, part.magnitude(audio.bfloat16().float()).bfloat16())


@pytest.mark.parametrize("kind", BOTH)
def test_bfloat16_modules_run(kind):
    module = kind(channels=(2, 2)).bfloat16()
    outputs = module(torch.randn(1, 1, 2000).bfloat16())
    assert all(output.score.dtype == torch.bfloat16 and output.score.isfinite().all() for output in outputs)


@pytest.mark.parametrize(("kind", "shortest"), [(BOTH[0], 6), (BOTH[1], 1149)])
def test_short_audio_runs_or_is_refused_in_one_sentence(kind, shortest):
    module = kind(channels=(2, 2, 2, 2, 2))
    for length in (shortest, shortest + 1, 3000):
        assert all(output.score.isfinite().all() for output in module(torch.randn(1, 1, length)))
    with pytest.raises(InvalidValue, match=f"longer signal than {shortest - 1} samples"):
        module(torch.randn(1, 1, shortest - 1))


def test_gradients_run_only_deterministic_operators():
    """What has no deterministic form on CUDA, and what adds by index there, does not run."""
    with OperatorNames() as operators:
        for kind in BOTH:
            audio = torch.randn(1, 1, 2401, requires_grad=True)
            outputs = kind(channels=(2, 2))(audio)
            torch.stack([x.mean() for output in outputs for x in output.features]).sum().backward()
    assert not [n for n in operators.names if "reflection_pad" in n or "index_add" in n or "scatter" in n]


@pytest.mark.parametrize("kind", BOTH)
def test_channels_last_gives_the_same_outputs(kind):
    module = kind(channels=(4, 8, 8))
    audio = torch.randn(1, 1, 2400)
    expected = module(audio)
    for found, plain in zip(module.to(memory_format=torch.channels_last)(audio), expected, strict=True):
        torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("kind", "sizes"), [(BOTH[0], (7,)), (BOTH[1], (126,))])
def test_compiles_without_a_graph_break(kind, sizes):
    module = kind(sizes, (2, 2))
    audio = torch.randn(1, 1, 2400)
    expected = module(audio)
    found = torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=False)(audio)
    for ours, plain in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-6)
    torch.stack([output.score.mean() for output in found]).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in module.parameters())


@pytest.mark.parametrize("kind", [*BOTH, discriminators.MultiPeriodDiscriminator])
@pytest.mark.parametrize(("sizes", "channels"), [((), (8,)), ((0,), (8,)), ((-3,), (8,)), ((7,), ()), ((7,), (8, 0))])
def test_sizes_that_there_cannot_be_are_refused(kind, sizes, channels):
    with pytest.raises(InvalidValue, match="must be one or more whole numbers of at least"):
        kind(sizes, channels)


@pytest.mark.parametrize(("n_ffts", "channels"), [((), 8), ((2,), 8), ((78,), 0)])
def test_sizes_of_spectrograms_that_there_cannot_be_are_refused(n_ffts, channels):
    with pytest.raises(InvalidValue, match="must be one or more whole numbers of at least"):
        discriminators.MultiResolutionSpectrogramDiscriminator(n_ffts, channels)


def test_all_names_of_earlier_versions_import():
    """Configurations and saved files hold these paths."""
    for name in ("Discriminator", "MultiPeriodDiscriminator", "MultiResolutionSpectrogramDiscriminator"):
        assert getattr(codec, name) is getattr(discriminators, name)
    assert discriminators.PeriodDiscriminator(2, (2,)).period == 2
    assert discriminators.SpectrogramDiscriminator(64, 2).n_fft == 64
    assert discriminators.DiscriminatorOutput._fields == ("score", "features")
