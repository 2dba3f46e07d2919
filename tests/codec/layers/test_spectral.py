"""Spectra of frames: the values and gradients of PyTorch's own operators."""

import pytest
import torch

from codec.errors import InvalidValue
from codec.layers.spectral import Frames, RealTransform, frame_spectra, hann_window, past_stft, past_window

CPU = torch.device("cpu")


@pytest.mark.parametrize(("n_fft", "hop", "samples"), [(128, 32, 500), (78, 19, 78), (7, 3, 40), (64, 64, 300)])
def test_spectra_and_their_gradients_are_those_of_stft(n_fft, hop, samples):
    audio = torch.randn(2, samples, dtype=torch.float64, requires_grad=True)
    window = torch.hann_window(n_fft, dtype=torch.float64)
    expected = torch.stft(audio, n_fft, hop, window=window, center=False, return_complex=True).transpose(1, 2)
    found = frame_spectra(audio, window, hop)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    outer = torch.randn_like(expected)
    (wanted,) = torch.autograd.grad(expected, audio, outer)
    (gradient,) = torch.autograd.grad(found, audio, outer)
    torch.testing.assert_close(gradient, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 8, 9])
def test_the_gradient_of_a_real_transform_is_right_at_any_length(length):
    x = torch.randn(3, length, dtype=torch.float64, requires_grad=True)
    assert torch.equal(RealTransform.apply(x), torch.fft.rfft(x))
    assert torch.autograd.gradcheck(RealTransform.apply, x)
    assert torch.autograd.gradgradcheck(RealTransform.apply, x)


@pytest.mark.parametrize(("length", "hop"), [(128, 32), (78, 19), (50, 50), (7, 10), (1, 1)])
def test_gradients_of_frames_are_those_of_unfold_to_the_last_bit(length, hop):
    x = torch.randn(3, 777, requires_grad=True)
    frames = Frames.apply(x, length, hop)
    assert torch.equal(frames, x.unfold(-1, length, hop))
    outer = torch.randn_like(frames)
    (wanted,) = torch.autograd.grad(x.unfold(-1, length, hop), x, outer)
    assert torch.equal(torch.autograd.grad(frames, x, outer)[0], wanted)


@pytest.mark.parametrize("length", [2, 7, 78, 320, 1280])
def test_the_window_is_pytorchs(length):
    assert torch.equal(hann_window(length, CPU), torch.hann_window(length))


@pytest.mark.parametrize(("n_fft", "hop"), [(960, 320), (120, 40), (40, 40), (77, 11)])
def test_the_window_of_causal_encoders_peaks_half_a_hop_before_its_end(n_fft, hop):
    window, fall = past_window(n_fft, hop, CPU), hop // 2
    rise = n_fft - fall
    assert window.shape == (n_fft,) and window.min() > 0 and window.max() <= 1
    assert (window[:rise].diff() > 0).all() and (window[rise:].diff() < 0).all()
    assert window[rise - 1 : rise + 1].min() > 0.97 and window[[0, -1]].max() < 0.03


def test_spectra_of_the_past_end_with_their_hop():
    audio = torch.randn(2, 80 + 5 * 40)
    found = past_stft(audio, 120, 40)
    assert found.shape == (2, 61, 5)
    last = torch.fft.rfft(audio[:, -120:] * past_window(120, 40, CPU))
    torch.testing.assert_close(found[..., -1], last, atol=1e-5, rtol=0)
    with pytest.raises(InvalidValue, match="n_fft 30 must be at least hop_length 40"):
        past_stft(audio, 30, 40)
