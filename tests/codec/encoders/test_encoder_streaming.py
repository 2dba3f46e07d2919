"""Encoding in windows against `encode`: exact where the receptive field is bounded, near it elsewhere."""

from functools import partial

import pytest
import torch

from codec import (
    FSQ,
    AcousticEncoder,
    ConvNeXtBackbone,
    FusedEncoder,
    InvalidValue,
    MelEncoder,
    NeuralCodec,
    SpectralEncoder,
    StudentEncoder,
    VocosDecoder,
)

HOP = 40
BOUNDED = {
    "spectral": lambda: SpectralEncoder(16, HOP, width=8, depth=2),
    "wide window": lambda: SpectralEncoder(16, HOP, width=8, depth=1, window=4),
    "mel": lambda: MelEncoder(16, HOP, bands=10, width=8, depth=1, sample_rate=8_000),
    "causal spectral": lambda: SpectralEncoder(16, HOP, width=8, depth=2, causal=True),
    "causal mel": lambda: MelEncoder(16, HOP, bands=10, width=8, depth=1, window=5, sample_rate=8_000, causal=True),
    "acoustic": lambda: AcousticEncoder(16, 4, strides=(2, 4, 5), dilations=(1, 3)),
    "without filters": lambda: AcousticEncoder(16, 4, strides=(5, 8), anti_aliased=False),
    "fused": lambda: FusedEncoder(
        AcousticEncoder(8, 4, strides=(5, 8)), SpectralEncoder(8, HOP, width=8, depth=1), dim=16
    ),
}


def codec_of(encoder, dim=16):
    torch.manual_seed(0)
    decoder = VocosDecoder(ConvNeXtBackbone(dim, 16, depth=1), HOP)
    codec = NeuralCodec(encoder(), FSQ(dim, (4, 4, 4)), decoder, sample_rate=8_000).eval()
    with torch.no_grad():
        for name, parameter in codec.encoder.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(1.0)
            if name.endswith("gamma"):
                parameter.fill_(0.5)
    return codec


def sound(frames, clips=2, rest=0):
    generator = torch.Generator().manual_seed(frames)
    return 0.3 * torch.randn(clips, 1, frames * HOP + rest, generator=generator)


@torch.no_grad()
@pytest.mark.parametrize("encoder", BOUNDED.values(), ids=BOUNDED)
@pytest.mark.parametrize(("frames", "rest", "chunk"), [(1, 0, 10), (0, 3, 4), (90, 7, 10), (91, 0, 7), (60, 39, 90)])
def test_a_bounded_encoder_encodes_exactly_in_windows(encoder, frames, rest, chunk):
    codec, audio = codec_of(encoder), sound(frames, rest=rest)
    latents = []
    codec.quantizer.register_forward_hook(lambda module, inputs, output: latents.append(inputs[0]))
    stream = codec.encode_stream(audio, chunk=chunk)
    codes = list(stream)
    assert stream.is_exact
    assert all(piece.shape == (2, 1, chunk) for piece in codes[:-1])
    windowed = torch.cat(latents, -1)
    expected = codec.encode_latents(audio)
    torch.testing.assert_close(windowed, expected, atol=2e-5 * expected.abs().max().item(), rtol=0)
    assert torch.equal(torch.cat(codes, -1), codec.encode(audio))


@torch.no_grad()
@pytest.mark.parametrize("encoder", BOUNDED.values(), ids=BOUNDED)
def test_the_receptive_field_is_what_it_says(encoder):
    """A change of one frame's audio moves latents inside the field alone; it comes near its edge, but for what filters'
    faint tails reach."""
    codec, audio = codec_of(encoder), sound(200, clips=1)
    before, after = codec.encoder.receptive_field
    changed = audio.clone()
    changed[..., 100 * HOP : 101 * HOP] += 1.0
    moved = (codec.encode_latents(audio) - codec.encode_latents(changed)).abs().amax((0, 1)) > 0
    touched = moved.nonzero().flatten()
    assert touched.min() >= 100 - after and touched.max() <= 100 + before
    near = before // 2 if any("activation" in name for name, _ in codec.encoder.named_modules()) else 3
    assert touched.min() <= 100 - after + near and touched.max() >= 100 + before - near


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[1] * 50, [4000], [0, 39, 1, 0, 3000], [401] * 9])
def test_pieces_of_any_lengths_give_the_same_codes(lengths):
    codec, audio = codec_of(BOUNDED["spectral"]), sound(100)[..., : sum(lengths)]
    stream = codec.encode_stream(audio.split(lengths, -1), chunk=6)
    assert torch.equal(torch.cat(list(stream), -1), codec.encode(audio))
    assert torch.equal(torch.cat(list(stream), -1), codec.encode(audio))  # a second time


@torch.no_grad()
def test_an_unbounded_encoder_comes_near_and_says_so():
    codec = codec_of(
        lambda: StudentEncoder(16, (4, 8, 16), strides=(2, 4), depths=(1, 1, 1), heads=2, window=5, attention_depth=1)
    )
    audio = sound(400, clips=1)
    stream = codec.encode_stream(audio, chunk=100, before=100, after=100)
    codes, expected = torch.cat(list(stream), -1), codec.encode(audio)
    assert codec.encoder.receptive_field is None and not stream.is_exact
    equal = (codes == expected).float().mean().item()
    assert codes.shape == expected.shape and equal > 0.9
    assert torch.equal(torch.cat(list(codec.encode_stream(audio, chunk=400)), -1), expected)


@torch.no_grad()
def test_codes_come_with_the_stated_latency():
    codec, fed = codec_of(BOUNDED["wide window"]), []

    def arriving():
        for frame in sound(60).split(HOP, -1):
            fed.append(frame)
            yield frame

    stream = codec.encode_stream(arriving(), chunk=4)
    assert stream.latency == (4 + stream.after) / 200
    for number, _ in enumerate(stream):
        assert len(fed) == min(60, 4 * (number + 1) + stream.after)


def test_what_is_no_audio_is_refused():
    codec = codec_of(BOUNDED["spectral"])
    assert list(codec.encode_stream([])) == []
    with pytest.raises(ValueError, match="chunk 0 must"):
        codec.encode_stream(sound(3), chunk=0)
    with pytest.raises(ValueError, match=r"\[B, 1, T\]"):
        codec.encode_stream(torch.zeros(1, 2, 80))
    with pytest.raises(ValueError, match="follows pieces of 2 clips"):
        list(codec.encode_stream([sound(3), sound(3, clips=1)]))


@torch.no_grad()
def test_default_windows_are_of_30_seconds_with_the_field_or_5_seconds_around_them():
    stream = codec_of(BOUNDED["spectral"]).encode_stream([])
    assert (stream.chunk, stream.before, stream.after) == (6000, 8, 8)
    stream = codec_of(lambda: StudentEncoder(16, (4, 8), strides=(8,), depths=(1, 1), heads=2)).encode_stream([])
    assert (stream.before, stream.after) == (1000, 1000)


@torch.no_grad()
@pytest.mark.parametrize("kind", [SpectralEncoder, partial(MelEncoder, bands=10, sample_rate=8_000)])
def test_features_are_standardised_before_the_layers(kind):
    plain, standardised = kind(16, HOP, width=8, depth=1), kind(16, HOP, width=8, depth=1, mean=-4.0, std=2.5)
    standardised.load_state_dict(plain.state_dict())
    features = torch.randn(2, plain.embed.in_channels, 9, generator=torch.Generator().manual_seed(0))
    found, expected = standardised.encode_features(features), plain.encode_features((features + 4.0) / 2.5)
    torch.testing.assert_close(found, expected)
    with pytest.raises(InvalidValue, match=r"std 0\.0 must be a number above 0"):
        kind(16, HOP, std=0.0)
