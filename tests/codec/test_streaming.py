"""Live streams of a codec: chunk by chunk equal to the whole, in batches, from stored states, with a stated latency."""

import copy
import itertools
import pickle

import pytest
import torch

from codec import FSQ, ConvNeXtBackbone, Decoder, InvalidValue, NeuralCodec, SpectralEncoder, VocosDecoder
from codec.layers.streaming import Memoryless
from tests.support.causal_codecs import HOP, STREAMING_CODECS, state_tensors, streaming_codec


def sound(samples, batch=1):
    return 0.3 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(samples))


def pieces(x, sizes):
    """Cut along the last axis into sizes in turn, to the end."""
    done = 0
    for size in itertools.cycle(sizes):
        if done >= x.shape[-1]:
            return
        yield x[..., done : done + size]
        done += size


def streamed(step, finish, x, sizes):
    return torch.cat([*map(step, pieces(x, sizes)), finish()], -1)


CHUNKS = [[1], [2], [3], [10], [17], [50], [5, 0, 1, 50, 2, 13]]


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", CHUNKS, ids=str)
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_encoding_in_chunks_is_encoding_the_whole(name, frames, batch):
    codec, audio = streaming_codec(name), sound(107 * HOP + 13, batch)
    sizes = [frame * HOP for frame in frames]
    stream = codec.streaming_encoder(batch)
    latents = streamed(stream.step_latents, stream.finish_latents, audio, sizes)
    torch.testing.assert_close(latents, codec.encode_latents(audio), atol=1e-5, rtol=0)
    stream.reset()
    assert torch.equal(streamed(stream.step, stream.finish, audio, sizes), codec.encode(audio))


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("frames", CHUNKS, ids=str)
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_decoding_in_chunks_is_decoding_the_whole(name, frames, batch):
    codec = streaming_codec(name)
    codes = codec.encode(sound(107 * HOP, batch))
    stream = codec.streaming_decoder(batch)
    expected = codec.decode(codes)
    assert expected.abs().max() > 0.05
    torch.testing.assert_close(streamed(stream.step, stream.finish, codes, frames), expected, atol=1e-5, rtol=0)
    latents = codec.quantizer.decode(codes)
    stream.reset()
    audio = streamed(stream.step_latents, stream.finish, latents, frames)
    torch.testing.assert_close(audio, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("sizes", [[1], [39, 41, 40], [7, 100, 0, 1], [4000]], ids=str)
@pytest.mark.parametrize("samples", [1, 39, 40, 41, 777])
def test_pieces_of_any_samples_and_clips_of_any_length(samples, sizes):
    codec, audio = streaming_codec("small"), sound(samples)
    stream = codec.streaming_encoder()
    codes = streamed(stream.step, stream.finish, audio, sizes)
    assert torch.equal(codes, codec.encode(audio)) and codes.dtype == torch.int64


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_clips_shorter_than_the_look_ahead(name, frames):
    codec = streaming_codec(name)
    codes = torch.ones(1, len(codec.quantizer.codebook_sizes), frames, dtype=torch.long)
    stream = codec.streaming_decoder()
    expected = codec.decode(codes)
    torch.testing.assert_close(streamed(stream.step, stream.finish, codes, [1]), expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_samples_come_with_the_stated_latency(name):
    """A frame's codes come with its last sample; its audio, and no sample less, is complete a look-ahead later."""
    codec = streaming_codec(name)
    encoder, decoder = codec.streaming_encoder(), codec.streaming_decoder()
    assert encoder.latency == codec.hop_length / codec.sample_rate
    assert decoder.latency == codec.decoder.lookahead / codec.output_sample_rate
    assert decoder.lookahead == (codec.decoder.n_fft - codec.decoder.hop_length) // 2
    out, hop = 0, codec.decoder.hop_length
    for frame in range(12):
        codes = torch.cat([encoder.step(sound(1)) for _ in range(HOP - 1)], -1)
        assert codes.shape[-1] == 0
        codes = encoder.step(sound(1))
        assert codes.shape[-1] == 1
        out += decoder.step(codes).shape[-1]
        assert out == max(0, (frame + 1) * hop - decoder.lookahead)


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_streams_of_a_batch_are_those_alone(name):
    codec, audio = streaming_codec(name), sound(50 * HOP, 3)
    stream, codes = codec.streaming_encoder(3), codec.encode(audio)
    assert torch.equal(streamed(stream.step, stream.finish, audio, [3 * HOP, 64]), codes)
    decoder = codec.streaming_decoder(3)
    together = streamed(decoder.step, decoder.finish, codes, [4, 1])
    for row in range(3):
        alone = codec.streaming_encoder()
        assert torch.equal(streamed(alone.step, alone.finish, audio[row, None], [11 * HOP]), codes[row, None])
        alone = codec.streaming_decoder()
        one = streamed(alone.step, alone.finish, codes[row, None], [7])
        torch.testing.assert_close(together[row, None], one, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_a_stream_goes_on_from_a_stored_state_on_another_object(name):
    codec, audio = streaming_codec(name), sound(20 * HOP)
    codes, expected = codec.encode(audio), codec.decode(codec.encode(audio))
    first = codec.streaming_encoder()
    before = first.step(audio[..., :333])
    second = codec.streaming_encoder()
    second.state = pickle.loads(pickle.dumps(first.state))
    first.step(sound(500))
    assert torch.equal(torch.cat((before, second.step(audio[..., 333:]), second.finish()), -1), codes)
    first = codec.streaming_decoder()
    before = first.step(codes[..., :7])
    kept = copy.copy(first.state)
    first.step(codes[..., 3:9])
    first.state = kept
    found = torch.cat((before, first.step(codes[..., 7:]), first.finish()), -1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_one_stream_of_a_batch_begins_anew(name):
    codec = streaming_codec(name)
    hop = codec.decoder.hop_length
    audio, rows = sound(30 * HOP, 2), torch.tensor([False, True])
    stream, codes = codec.streaming_encoder(2), codec.encode(audio)
    stream.step(audio[..., : 10 * HOP])
    stream.reset(rows)
    after = stream.step(audio[..., 10 * HOP :])
    assert torch.equal(after[0], codes[0, :, 10:])
    assert torch.equal(after[1, None], codec.encode(audio[1:, :, 10 * HOP :]))
    decoder = codec.streaming_decoder(2)
    late = decoder.lookahead
    decoder.step(codes[..., :10])
    decoder.reset(rows)
    found = torch.cat((decoder.step(codes[..., 10:12]), decoder.step(codes[..., 12:]), decoder.finish()), -1)
    whole, anew = codec.decode(codes[:1]), codec.decode(codes[1:, :, 10:])
    torch.testing.assert_close(found[0, None], whole[..., 10 * hop - late :], atol=1e-5, rtol=0)
    assert found.shape[-1] == 20 * hop + late and not found[1, :, :late].any()
    torch.testing.assert_close(found[1, None, :, late:], anew, atol=1e-5, rtol=0)


@torch.no_grad()
def test_an_hours_stream_holds_what_a_seconds_does():
    codec = streaming_codec("attention")
    encoder, decoder = codec.streaming_encoder(), codec.streaming_decoder()

    def size(state):
        return sum(tensor.untyped_storage().nbytes() for tensor in state_tensors(state))

    decoder.step(encoder.step(sound(HOP)))
    held = size(encoder.state), size(decoder.state)
    for frames in [50] * 20 + [7]:
        decoder.step(encoder.step(sound(frames * HOP + HOP)[..., : frames * HOP]))
        assert (size(encoder.state), size(decoder.state)) == held
    assert not any(t.requires_grad for t in (encoder.state.pending, decoder.state.early))


class Repeated(Decoder, Memoryless):
    """A part of another's making, without look-ahead: each frame's first latent, held."""

    dim, hop_length = 16, HOP

    def forward(self, latents):
        return latents[:, :1].repeat_interleave(HOP, -1)


def test_a_part_of_ones_own_streams():
    codec = NeuralCodec(streaming_codec("small").encoder, FSQ(16, (4, 4)), Repeated(), sample_rate=8_000).eval()
    codes = codec.encode(sound(9 * HOP))
    stream = codec.streaming_decoder()
    found = streamed(stream.step, stream.finish, codes, [4])
    torch.testing.assert_close(found, codec.decode(codes), atol=1e-6, rtol=0)
    assert stream.latency == 0


def test_lost_codes_are_erased_as_in_decode():
    codec = streaming_codec("24 kHz, four hops")
    codes = codec.encode(sound(20 * HOP))
    erased = torch.rand(codes.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    stream = codec.streaming_decoder()
    found = torch.cat((stream.step(codes[..., :9], erased[..., :9]), stream.step(codes[..., 9:], erased[..., 9:])), -1)
    expected = codec.decode(codes, erased)
    torch.testing.assert_close(found, expected[..., : found.shape[-1]].detach(), atol=1e-5, rtol=0)
    assert not torch.allclose(expected, codec.decode(codes), atol=1e-3)


def test_mistakes_are_named():
    codec = streaming_codec("small")
    other = NeuralCodec(SpectralEncoder(16, HOP, width=8, depth=1), FSQ(16, (4,)), VocosDecoder(
        ConvNeXtBackbone(16, 16, depth=1), HOP), sample_rate=8_000)  # fmt: skip
    with pytest.raises(InvalidValue, match=r"SpectralEncoder with causal: false .* or use encode_stream"):
        other.streaming_encoder()
    with pytest.raises(InvalidValue, match=r"ConvNeXtBackbone with causal: false .* or use decode_stream"):
        other.streaming_decoder()
    for batch in (0, 1.5, "a", True):
        for start in (codec.streaming_encoder, codec.streaming_decoder):
            with pytest.raises(InvalidValue, match=f"batch {batch!r} must be at least 1 stream, a whole number"):
                start(batch)
    encoder, decoder = codec.streaming_encoder(2), codec.streaming_decoder(2)
    with pytest.raises(InvalidValue, match="must have 2 rows"):
        encoder.step(sound(99))
    with pytest.raises(InvalidValue, match="must have 2 rows"):
        decoder.step(torch.zeros(1, 1, 4, dtype=torch.long))
    with pytest.raises(InvalidValue, match="must have 2 rows"):
        decoder.step_latents(torch.zeros(3, 16, 4))
    with pytest.raises(InvalidValue, match=r"must be \[B, 16, F\]"):
        decoder.step_latents(torch.zeros(2, 15, 4))
    with pytest.raises(InvalidValue, match="must lie within codebooks"):
        decoder.step(torch.full((2, 1, 4), 64))
    with pytest.raises(InvalidValue, match="holds NaN"):
        encoder.step(torch.full((2, 1, 9), torch.nan))
    encoder.step(sound(9, 2))
    with pytest.raises(InvalidValue, match="9 samples of a frame waiting"):
        encoder.reset([True, False])
    for rows in ([1, 0], [True], "a", [True, "a"], [[True], [True, False]]):
        with pytest.raises(InvalidValue, match="one bool for each of 2 streams"):
            decoder.reset(rows)
    for stream, chunk in ((encoder, sound(9, 2)), (decoder, torch.zeros(2, 1, 4, dtype=torch.long))):
        stream.finish()
        for call in (lambda s=stream, c=chunk: s.step(c), stream.finish):
            with pytest.raises(InvalidValue, match=r"has ended: call its reset\(\)"):
                call()
        stream.reset()
        assert stream.step(chunk).shape[0] == 2


@torch.no_grad()
def test_states_of_another_kind_are_refused():
    codec, other = streaming_codec("small"), streaming_codec("24 kHz, four hops")
    audio = sound(3 * HOP, 2)
    for start, chunk in ((NeuralCodec.streaming_encoder, audio), (NeuralCodec.streaming_decoder, codec.encode(audio))):
        stream, fitting = start(codec, 2), start(codec, 2)
        own = stream.state
        wrong = start(other, 2).state, start(codec, 1).state, (1, 2), own[:-1], own._replace(**{own._fields[0]: None})
        for state in wrong:
            stream.state = state
            for call in (lambda s=stream, c=chunk: s.step(c), stream.finish):
                with pytest.raises(InvalidValue, match=r"state .* is none of 2 streams .* that was read from such"):
                    call()
        stream.state = own
        assert torch.equal(stream.step(chunk), fitting.step(chunk))
