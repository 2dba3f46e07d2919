"""The codec: exact lengths, encode-decode consistency, other output rates, refusals, parts' sizes."""

import pytest
import torch

from codec import (
    RVQ,
    AcousticEncoder,
    ConvNeXtBackbone,
    LearnedCodebook,
    NeuralCodec,
    SpectralEncoder,
    TransformerBackbone,
    VocosDecoder,
)
from codec.channels.link import Link
from codec.layers.activations import AntiAliasedActivation, SnakeBeta
from codec.layers.attention import rotary
from codec.layers.spectral import same_istft, same_stft
from codec.quantizers import FSQ
from tests.support.small_codec import small_codec


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
    for rate in (0, -16_000, 16_000.5):
        with pytest.raises(ValueError, match=f"sample_rate {rate} must be a whole number of Hz above 0"):
            NeuralCodec(encoder, FSQ(16, (4, 4)), decoder, sample_rate=rate)
    with pytest.raises(ValueError, match="gives no whole output rate"):
        NeuralCodec(SpectralEncoder(16, 162, width=32, depth=1), FSQ(16, (4, 4)), decoder)


@pytest.mark.parametrize("shape", [(1, 100), (1, 2, 100), (1, 1, 0)])
def test_wrong_audio_shapes_are_refused(codec, shape):
    with pytest.raises(ValueError, match="audio of shape"):
        codec.encode(torch.zeros(shape))


@pytest.fixture
def residual():
    """Two codebooks of 5 entries, whose tables fail on other codes."""
    decoder = VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), 160)
    return NeuralCodec(
        SpectralEncoder(16, 160, width=32, depth=1), RVQ(16, [LearnedCodebook(5, 8), LearnedCodebook(5, 8)]), decoder
    ).eval()


@pytest.mark.parametrize(("codes", "erased", "sentence"), [
    (torch.zeros(1, 2, 3), None, r"codes are torch.float32 but must be integers: pass"),
    (torch.zeros(1, 2, 3, dtype=torch.bool), None, "codes are torch.bool"),
    (torch.zeros(2, 3).long(), None, r"codes of shape \[2, 3\] must be \[B, K, F\] of the first 1 to 2 codebooks"),
    (torch.zeros(1, 3, 3).long(), None, r"codes of shape \[1, 3, 3\]"),
    (torch.zeros(1, 0, 3).long(), None, r"codes of shape \[1, 0, 3\]"),
    (torch.tensor([[[0, 1], [4, 5]]]), None, r"codes from 0 to 5 must lie within codebooks of \[5, 5\] entries"),
    (torch.tensor([[[0, -1], [4, 4]]]), None, "codes from -1 to 4 must lie"),
    (torch.tensor([[[0, 9], [4, 4]]]), torch.zeros(1, 2, 2, dtype=torch.bool), "codes from 0 to 9 must lie"),
    (torch.zeros(1, 2, 3).long(), torch.zeros(1, 2, 2, dtype=torch.bool), r"erased of shape \[1, 2, 2\]"),
    (torch.zeros(1, 2, 3).long(), torch.zeros(1, 2, 3).long(), r"erased of shape \[1, 2, 3\] and torch.int64 must be"),
])  # fmt: skip
def test_wrong_codes_are_refused_in_a_sentence(residual, codes, erased, sentence):
    with pytest.raises(ValueError, match=sentence):
        residual.decode(codes, erased)


def test_a_single_codebook_refuses_two(codec):
    with pytest.raises(ValueError, match=r"codes of shape \[1, 2, 3\] must be \[B, K, F\] of the first 1 to 1"):
        codec.decode(torch.zeros(1, 2, 3).long())


@torch.no_grad()
@pytest.mark.parametrize("junk", [5, -7, 2**40])
def test_erased_positions_hold_anything(residual, junk):
    codes = torch.randint(5, (1, 2, 6))
    erased = torch.rand(1, 2, 6) < 0.5
    received = codes.masked_fill(erased, junk)
    assert torch.equal(residual.decode(received, erased), residual.decode(codes.masked_fill(erased, 0), erased))
    assert int(received[erased][0]) == junk  # the caller's tensor is left as it is


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.int32])
def test_any_integers_decode_as_int64_does(codec, residual, dtype):
    for chosen, codes in ((codec, torch.randint(256, (1, 1, 6))), (residual, torch.randint(5, (1, 2, 6)))):
        assert torch.equal(chosen.decode(codes.to(dtype)), chosen.decode(codes))
    assert residual.decode(codes[:, :1]).shape == (1, 1, 960)  # its first codebook alone


class Receiver(torch.nn.Module):
    def __init__(self, codec):
        super().__init__()
        self.codec = codec

    def forward(self, codes, erased):
        return self.codec.decode(codes, erased)


@torch.no_grad()
def test_decoding_compiles_without_a_break_and_exports(residual):
    codes, erased = torch.randint(5, (1, 2, 6)), torch.rand(1, 2, 6) < 0.5
    receiver, expected = Receiver(residual), residual.decode(codes, erased)
    compiled = torch.compile(receiver, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(codes, erased), expected)
    for strict in (False, True):
        exported = torch.export.export(receiver, (codes, erased), strict=strict).module()
        torch.testing.assert_close(exported(codes, erased), expected)


def test_training_and_channels_leave_codes_unchecked(residual, monkeypatch):
    """They use codes of their own making; a check would wait for the device at each batch."""
    monkeypatch.setattr("codec.codec.checked_codes", None)
    residual(torch.randn(1, 1, 640), lambda codes: residual.quantizer.decode(codes))
    connection = Link().connect(residual.quantizer)
    residual.decode_latents(connection.latents(connection.receive(connection.send(torch.randint(5, (1, 2, 6))))))


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
