"""The codec: exact lengths, encode-decode consistency, other output rates, refusals, parts' sizes."""

import pytest
import torch

from codec import AcousticEncoder, ConvNeXtBackbone, NeuralCodec, SpectralEncoder, TransformerBackbone, VocosDecoder
from codec.activations import AntiAliasedActivation, SnakeBeta
from codec.attention import rotary
from codec.quantizers import FSQ
from codec.spectral import same_istft, same_stft
from tests.codec.conftest import small_codec


@pytest.mark.parametrize("length", [1, 2, 159, 160, 161, 1000, 4800])
@pytest.mark.parametrize("output_hop", [160, 240, 80])
def test_any_length_is_kept_exactly(length, output_hop):
    codec = small_codec(output_hop=output_hop).eval()
    audio = torch.randn(2, 1, length) * 0.1
    output = codec(audio)
    expected = -(-length * output_hop // 160)
    assert output.audio.shape == (2, 1, expected)
    assert expected == codec.output_length(length)
    codes = codec.encode(audio)
    assert codes.shape == (2, 1, -(-length // 160))
    assert torch.equal(codes, output.codes)
    torch.testing.assert_close(codec.decode(codes, length=expected), output.audio)


def test_no_extra_frame_for_whole_frames(codec):
    assert codec.encode(torch.zeros(1, 1, 3 * 160)).shape[-1] == 3


def test_rates_are_derived(codec):
    assert (codec.frame_rate, codec.bits_per_frame, codec.bit_rate) == (100.0, 8, 800.0)
    assert small_codec(output_hop=240).output_sample_rate == 24_000


def test_an_erased_frame_changes_the_audio_near_it_only(codec):
    codec.eval()
    codes = torch.randint(256, (1, 1, 60))
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[..., 50] = True
    changed = (codec.decode(codes, erased) - codec.decode(codes)).abs()[0, 0]
    assert changed[50 * 160 : 51 * 160].max() > 0
    assert changed[: 30 * 160].max() == 0


def test_mismatched_widths_and_rates_name_both_sides():
    encoder, decoder = SpectralEncoder(16, 160, width=32, depth=1), VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), 160)
    with pytest.raises(ValueError, match="16, 24 and 16"):
        NeuralCodec(encoder, FSQ(24, (4, 4)), decoder)
    with pytest.raises(ValueError, match="gives no whole output rate"):
        NeuralCodec(SpectralEncoder(16, 162, width=32, depth=1), FSQ(16, (4, 4)), decoder)


@pytest.mark.parametrize("shape", [(1, 100), (1, 2, 100), (1, 1, 0)])
def test_wrong_audio_shapes_are_refused(codec, shape):
    with pytest.raises(ValueError, match="audio of shape"):
        codec.encode(torch.zeros(shape))


def test_stft_and_inverse_reconstruct_exactly():
    audio = torch.randn(2, 320 * 20)
    torch.testing.assert_close(same_istft(same_stft(audio, 1280, 320), 1280, 320), audio, atol=1e-5, rtol=1e-5)
    assert same_stft(audio, 1280, 320).shape == (2, 641, 20)


def test_acoustic_encoder_has_the_paper_size_and_one_frame_per_hop():
    encoder = AcousticEncoder()
    assert sum(p.numel() for p in encoder.parameters()) / 1e6 == pytest.approx(38.5, abs=0.1)
    small = AcousticEncoder(8, 4, strides=(2, 5), dilations=(1, 3))
    assert small(torch.randn(2, 1, 70)).shape == (2, 8, 7)


def test_transformer_backbone_sees_time_order():
    backbone = TransformerBackbone(8, 32, depth=1, heads=4).eval()
    latents = torch.randn(1, 8, 12)
    flipped = backbone(latents.flip(-1)).flip(1)
    assert not torch.allclose(backbone(latents), flipped, atol=1e-3)


def test_rotary_scores_depend_on_distance_alone():
    q, k = torch.randn(8), torch.randn(8)
    turned_q, turned_k = rotary(q.expand(1, 1, 20, 8)), rotary(k.expand(1, 1, 20, 8))
    scores = (turned_q @ turned_k.transpose(-1, -2))[0, 0]
    torch.testing.assert_close(scores.diagonal(3), scores[0, 3].expand(17), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(scores[0, 0], scores[0, 5])


def test_anti_aliased_identity_keeps_low_frequencies():
    wave = torch.sin(torch.arange(400) * 0.3)[None, None]
    nearly_identical = SnakeBeta(1)
    torch.nn.init.constant_(nearly_identical.log_beta, 20.0)
    passed = AntiAliasedActivation(nearly_identical)(wave)
    torch.testing.assert_close(passed[..., 20:-20], wave[..., 20:-20], atol=2e-3, rtol=0)
