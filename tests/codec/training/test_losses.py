"""Losses: identities, known values, gradients, precision, and the shape of discriminator outputs."""

import pytest
import torch

from codec import LeastSquaresLoss, MultiPeriodDiscriminator, MultiResolutionSpectrogramDiscriminator
from codec import MultiScaleMelLoss as MelLoss
from codec.training.discriminators import DiscriminatorOutput
from codec.training.losses import FeatureMatchingLoss, LossInputs
from tests.support.training import Hinge, voice


def test_mel_loss_is_zero_for_equal_and_one_decade_for_a_tenth_of_the_level():
    loss, audio = MelLoss(windows=(512, 1024), mels=(20, 40)), voice(0) * 3
    assert loss.distance(audio, audio).item() == 0
    assert loss.distance(audio / 10, audio).item() == pytest.approx(2.0, abs=0.05)  # log10, two scales


def test_mel_loss_keeps_the_published_scales_and_short_audio():
    loss = MelLoss()
    assert loss.windows == (32, 64, 128, 256, 512, 1024, 2048)
    assert loss.distance(torch.zeros(1, 1, 10), torch.zeros(1, 1, 10)).item() == 0


def test_mel_loss_gradient_is_finite_on_silence():
    silence = torch.zeros(1, 1, 4000, requires_grad=True)
    MelLoss().distance(silence, voice(0, size=1, samples=4000)).backward()
    assert silence.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_mel_loss_is_in_float32_under_autocast(dtype):
    loss, one, other = MelLoss(), voice(0), voice(1)
    expected = loss.distance(one, other)
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(loss.distance(one, other), expected)


def test_mel_loss_wants_bands_for_each_window():
    with pytest.raises(ValueError, match="2 windows and 1 mel:"):
        MelLoss(windows=(32, 64), mels=(5,))


def test_adversarial_losses_have_their_textbook_values():
    real, fake = [torch.tensor([0.5, 2.0]), torch.tensor([1.0])], [torch.tensor([0.5, -2.0]), torch.tensor([0.0])]
    squares, hinge = LeastSquaresLoss(), Hinge()
    assert squares.discriminator(real, fake).item() == pytest.approx((0.25 + 1) / 2 + (0.25 + 4) / 2)
    assert squares.generator(fake).item() == pytest.approx((0.25 + 9) / 2 + 1)
    assert hinge.discriminator(real, fake).item() == pytest.approx(0.25 + 0.75 + 0 + 1)
    assert hinge.generator(fake).item() == pytest.approx(0.75 + 0)


def test_feature_matching_sends_no_gradient_to_real_features():
    real, fake = torch.ones(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    outputs = ([DiscriminatorOutput(x, [x, x])] for x in (real, fake))
    FeatureMatchingLoss()(LossInputs(None, None, None, *outputs)).backward()
    assert real.grad is None
    assert torch.allclose(fake.grad, torch.full((3,), -2 / 3))


@pytest.mark.parametrize("discriminator", [
    MultiPeriodDiscriminator((2, 3), (4, 8)), MultiResolutionSpectrogramDiscriminator((128, 78), 4),
])  # fmt: skip
def test_discriminators_see_each_clip_alone(discriminator):
    audio = voice(0, size=3, samples=1601)
    together = discriminator(audio)
    assert len(together) == 2
    for index in range(3):
        for alone, whole in zip(discriminator(audio[index : index + 1]), together, strict=True):
            torch.testing.assert_close(alone.score[0], whole.score[index], atol=1e-5, rtol=1e-4)
            assert len(alone.features) == len(whole.features) >= 2


@pytest.mark.parametrize("samples", [1920, 3000, 40])
def test_mel_loss_has_value_and_gradient_of_centred_transforms(samples, monkeypatch):
    """Its own padding by flip and cat stands for `torch.stft(center=True)`, whose gradient varies on CUDA."""
    import codec.training.losses.reconstruction as reconstruction

    def stft(audio, window, hop_length):
        return torch.stft(audio, len(window), hop_length, window=window, return_complex=True).transpose(1, 2)

    loss, real = MelLoss(), voice(1, samples=samples)
    results = []
    for centred in (False, True):
        if centred:
            monkeypatch.setattr(reconstruction, "reflect_ends", lambda audio, *_: audio)
            monkeypatch.setattr(reconstruction, "frame_spectra", stft)
        fake = voice(0, samples=samples).requires_grad_()
        value = loss.distance(fake, real)
        value.backward()
        results.append((value.detach(), fake.grad))
    for ours, centred_form in zip(*results, strict=True):
        torch.testing.assert_close(ours, centred_form, rtol=1e-5, atol=1e-8)
