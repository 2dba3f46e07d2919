"""Streamed decoding against `decode`: exact where the receptive field is bounded, close elsewhere; latency."""

import pytest
import torch

from codec import FSQ, ConvNeXtBackbone, NeuralCodec, SpectralEncoder, TransformerBackbone, VocosDecoder
from codec.errors import InvalidValue

BOUNDED = {
    "causal ConvNeXt": lambda: ConvNeXtBackbone(16, 16, depth=2, causal=True),
    "ConvNeXt": lambda: ConvNeXtBackbone(16, 16, depth=2),
    "causal transformer": lambda: TransformerBackbone(16, 32, depth=2, heads=2, causal=True, window=5),
}


def codec_on(backbone, hop=40, spectra=1):
    torch.manual_seed(0)
    encoder = SpectralEncoder(16, 40, width=8, depth=1)
    codec = NeuralCodec(
        encoder, FSQ(16, (4, 4, 4)), VocosDecoder(backbone, hop, spectra=spectra), sample_rate=8_000
    ).eval()
    with torch.no_grad():
        for name, parameter in codec.decoder.named_parameters():
            if name.endswith("scale"):
                parameter.fill_(1.0)
        codec.decoder.head.bias.add_(1.0)
    return codec


def some_codes(frames, batch=2):
    return torch.randint(64, (batch, 1, frames), generator=torch.Generator().manual_seed(frames))


@torch.no_grad()
@pytest.mark.parametrize("backbone", BOUNDED.values(), ids=BOUNDED)
@pytest.mark.parametrize(("frames", "chunk"), [(1, 10), (60, 10), (61, 7), (200, 1), (5, 50)])
def test_a_bounded_decoder_streams_exactly(backbone, frames, chunk):
    codec, codes = codec_on(backbone(), hop=60), some_codes(frames)
    stream = codec.decode_stream(codes, chunk=chunk)
    chunks = list(stream)
    assert stream.is_exact
    assert all(c.shape == (2, 1, 60 * chunk) for c in chunks[:-1])
    expected = codec.decode(codes)
    torch.testing.assert_close(torch.cat(chunks, -1), expected, atol=1e-5 * expected.abs().max().item(), rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("spectra", [1, 2, 8])
@pytest.mark.parametrize("backbone", BOUNDED.values(), ids=BOUNDED)
def test_the_receptive_field_is_what_it_says(backbone, spectra):
    """A change of one code moves audio inside the field alone, and reaches its edge."""
    codec, codes = codec_on(backbone(), spectra=spectra), some_codes(160, batch=1)
    before, after = codec.decoder.receptive_field
    changed = codes.clone()
    changed[..., 80] = (changed[..., 80] + 21) % 64
    moved = (codec.decode(codes) - codec.decode(changed)).abs().view(160, 40).amax(1) > 0
    touched = moved.nonzero().flatten()
    assert touched.min() >= 80 - after and touched.max() <= 80 + before
    assert touched.min() <= 80 - after + 1 and touched.max() >= min(159, 80 + before) - 3


@torch.no_grad()
@pytest.mark.parametrize(("backbone", "ahead"), [("causal ConvNeXt", 2), ("causal transformer", 2), ("ConvNeXt", 11)])
def test_audio_comes_with_the_stated_latency(backbone, ahead):
    codec = codec_on(BOUNDED[backbone]())
    fed = []

    def arriving():
        for frame in some_codes(40).split(1, -1):
            fed.append(frame)
            yield frame

    stream = codec.decode_stream(arriving(), chunk=4)
    assert stream.latency == (3 + ahead) / 200
    for number, _ in enumerate(stream):
        assert len(fed) == min(40, 4 * (number + 1) + ahead)


@torch.no_grad()
def test_an_unbounded_decoder_comes_near_and_says_so():
    codec, codes = codec_on(TransformerBackbone(16, 32, depth=2, heads=2)), some_codes(300)
    stream = codec.decode_stream(codes, chunk=20, before=100, after=25)
    streamed, expected = torch.cat(list(stream), -1), codec.decode(codes)
    assert not stream.is_exact and stream.latency == 44 / 200
    assert streamed.shape == expected.shape
    error = (streamed - expected).square().mean() / expected.square().mean()
    assert 1e-8 < error < 0.1
    nearer = codec.decode_stream(codes, chunk=300)
    torch.testing.assert_close(torch.cat(list(nearer), -1), expected)


def test_no_codes_give_no_audio():
    assert list(codec_on(BOUNDED["ConvNeXt"]()).decode_stream([])) == []


def test_wrong_codes_are_refused_at_once_or_as_they_come():
    codec, right = codec_on(BOUNDED["ConvNeXt"]()), some_codes(3)
    for wrong in (right.float(), right - 64, right + 64, right.expand(2, 2, 3)):
        with pytest.raises(ValueError, match="must"):
            codec.decode_stream(wrong)
        stream = iter(codec.decode_stream([right, wrong], chunk=1, before=0, after=0))
        assert [next(stream).shape[-1] for _ in range(3)] == [40] * 3
        with pytest.raises(ValueError, match="must"):
            next(stream)
    with pytest.raises(ValueError, match=r"codes of shape \[1, 1, 3\] follow pieces of 2 clips and 1 codebooks: keep"):
        list(codec.decode_stream([right, right[:1]]))


@torch.no_grad()
def test_stored_codes_stream_and_a_list_streams_twice():
    codec, codes = codec_on(BOUNDED["ConvNeXt"]()), some_codes(7)
    stream = codec.decode_stream(list(codes.to(torch.uint8).split(2, -1)), chunk=3)
    for _ in range(2):
        torch.testing.assert_close(torch.cat(list(stream), -1), codec.decode(codes), atol=1e-5, rtol=0)


@pytest.mark.parametrize("wrong", [{"chunk": 0}, {"before": -1}, {"after": -2}])
def test_wrong_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="must be at least 1 frame"):
        codec_on(BOUNDED["ConvNeXt"]()).decode_stream(some_codes(3), **wrong)


def test_a_window_of_a_hop_is_refused():
    """The Hann window is 0 where hops meet, and nothing else is added there."""
    with pytest.raises(InvalidValue, match="window 1 must be at least 2 hops"):
        VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), 40, window=1)


def test_spectra_that_do_not_divide_the_hop_are_refused():
    with pytest.raises(InvalidValue, match="spectra 3 must divide the hop_length 40: take 1"):
        VocosDecoder(ConvNeXtBackbone(16, 16, depth=1), 40, spectra=3)


@torch.no_grad()
@pytest.mark.parametrize("spectra", [2, 5])
def test_several_spectra_a_frame_look_less_ahead_and_stream_as_the_whole(spectra):
    """The inverse STFT's hop is a part of a frame, so its windows are, too."""
    codec, codes = codec_on(BOUNDED["causal ConvNeXt"](), spectra=spectra), some_codes(30)
    one = codec_on(BOUNDED["causal ConvNeXt"]()).decoder
    assert codec.decoder.lookahead * spectra == one.lookahead
    assert (one.receptive_field, codec.decoder.receptive_field) == ((20, 2), (19, 1))
    assert codec.decoder.head.weight.shape[0] == one.head.weight.shape[0] + 2 * (spectra - 1)
    stream = codec.streaming_decoder(2)
    chunks = [stream.step(codes[..., at : at + 3]) for at in range(0, 30, 3)]
    audio = torch.cat([*chunks, stream.finish()], -1)
    torch.testing.assert_close(audio, codec.decode(codes), atol=1e-6, rtol=0)
