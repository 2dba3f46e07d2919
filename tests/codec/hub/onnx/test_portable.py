"""A codec's parts in plain operators are the parts: the same codes, the same audio, whatever the length."""

import pytest
import torch

from codec.hub.onnx.graphs import part_graphs, whole_graphs
from codec.hub.onnx.spectra import Analysis, FourierMatrix, Synthesis
from codec.layers.spectral import same_istft, same_stft
from tests.codec.hub.onnx.kinds import BACKBONES, ENCODERS, HOP, QUANTIZERS, random_codec

LENGTHS = [1, HOP - 1, HOP, HOP + 1, 33 * HOP + 7]


@pytest.mark.parametrize(("window", "hop"), [(1, 8), (2, 10), (3, 320), (4, 320), (3, 5), (5, 3)])
def test_spectra_are_those_of_the_transform(window, hop):
    torch.manual_seed(0)
    audio = torch.randn(2, 1, 9 * hop)
    wanted = same_stft(audio[:, 0], window * hop, hop).transpose(1, 2)
    real, imaginary = Analysis(window, hop)(audio)
    assert (real - wanted.real).abs().max() < 2e-6 * wanted.abs().max()
    assert (imaginary - wanted.imag).abs().max() < 2e-6 * wanted.abs().max()


@pytest.mark.parametrize(("window", "hop"), [(2, 10), (3, 320), (4, 320), (3, 5), (5, 3)])
@pytest.mark.parametrize("frames", [1, 2, 9])
def test_audio_is_that_of_the_inverse_transform(window, hop, frames):
    torch.manual_seed(0)
    spectrum = torch.randn(2, window * hop // 2 + 1, frames, dtype=torch.complex64)
    wanted = same_istft(spectrum, window * hop, hop)
    audio = Synthesis(window, hop)(spectrum.real.transpose(1, 2), spectrum.imag.transpose(1, 2))[:, 0]
    assert audio.shape == wanted.shape
    assert (audio - wanted).abs().max() < 2e-6 * wanted.abs().max()


def test_two_narrow_tables_make_the_matrix():
    half = torch.ones(641, dtype=torch.float64)
    matrix = FourierMatrix(1280, half, half)
    angle = torch.outer(torch.arange(641), torch.arange(641)).double() * (2 * torch.pi / 1280)
    cosines, sines = matrix()
    assert (cosines - angle.cos()).abs().max() < 3e-7
    assert (sines - angle.sin()).abs().max() < 3e-7
    assert sum(table.numel() for table in matrix.buffers()) < 0.16 * 2 * 641**2


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
def test_encoders(encoder):
    codec = random_codec(encoder)
    graph = part_graphs(codec)["encoder"].module
    for length in LENGTHS:
        audio = 0.3 * torch.randn(2, 1, length)
        with torch.no_grad():
            wanted, found = codec.encode_latents(audio), graph(audio)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-4 * wanted.abs().max()


@pytest.mark.parametrize("quantizer", sorted(QUANTIZERS))
def test_quantizers(quantizer):
    codec = random_codec(quantizer=quantizer)
    graphs, latents = part_graphs(codec), 2 * torch.randn(3, 16, 50)
    with torch.no_grad():
        codes = codec.quantizer(latents).codes
        erased = torch.rand(codes.shape) < 0.3
        assert torch.equal(graphs["quantizer"].module(latents), codes)
        assert torch.equal(graphs["dequantizer"].module(codes, erased), codec.quantizer.decode(codes, erased))


@pytest.mark.parametrize("backbone", sorted(BACKBONES))
@pytest.mark.parametrize(("window", "spectra"), [(2, 1), (4, 1), (4, 5)])
def test_decoders(backbone, window, spectra):
    codec = random_codec(backbone=backbone, window=window, spectra=spectra)
    graph = whole_graphs(codec)["decode"].module
    for frames in (1, 2, 40):
        codes = torch.randint(4**8, (2, 1, frames))
        erased = torch.rand(codes.shape) < 0.3
        with torch.no_grad():
            wanted, found = codec.decode(codes, erased), graph(codes, erased)
        assert found.shape == wanted.shape
        assert (found - wanted).abs().max() < 1e-5 * wanted.abs().max()


def test_a_codec_stays_as_it_is():
    codec = random_codec("acoustic").train()
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    whole_graphs(codec)
    assert codec.training and all(weight.requires_grad for weight in codec.parameters())
    assert before.keys() == codec.state_dict().keys()
    assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
