"""Encoding and decoding frame by frame: equal to the whole where the look-ahead covers the receptive field."""

import pytest
import torch

from codec import InvalidValue, Link, RepeatLast
from codec.transport.live.coding import Fading, LiveDecoder, LiveEncoder
from tests.support.calls import random_codes
from tests.support.causal_codecs import STREAMING_CODECS
from tests.support.codec_fakes import tiny_codec


def audio_of(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(1, 1, samples, generator=torch.Generator().manual_seed(0))


def pushed(encoder: LiveEncoder, audio: torch.Tensor) -> list[torch.Tensor]:
    codes = []
    for piece in audio.split(encoder.packet_samples, -1):
        codes += encoder.push(piece)
    return [*codes, *encoder.finish()]


@pytest.mark.parametrize("size", [1, 3])
def test_packets_hold_the_codes_of_the_whole(size):
    codec, audio = tiny_codec(), audio_of(320 * 20 + 100)
    encoder = LiveEncoder(codec, size, look_ahead=20)
    found = pushed(encoder, audio)
    assert {part.shape[-1] for part in found[:-1]} == {size}
    assert torch.equal(torch.cat(found, -1), codec.encode(audio))
    assert encoder.delay == pytest.approx(0.02 * (size + codec.encoder.receptive_field[1]))


def test_less_look_ahead_is_less_delay():
    codec = tiny_codec()
    assert LiveEncoder(codec, 1, look_ahead=2).delay == pytest.approx(0.06)


@pytest.mark.parametrize("name", STREAMING_CODECS)
def test_a_causal_codec_keeps_its_state(name):
    codec = STREAMING_CODECS[name]().eval()
    audio = audio_of(codec.hop_length * 15 + 10)
    encoder = LiveEncoder(codec, 2, look_ahead=20)
    assert encoder.delay == 2 / codec.frame_rate
    codes = torch.cat(pushed(encoder, audio), -1)
    assert torch.equal(codes, codec.encode(audio))
    connection = Link().connect(codec.quantizer)
    decoder = LiveDecoder(codec, connection)
    assert decoder.look_ahead == 0 and decoder.delay == codec.decoder.lookahead / codec.output_sample_rate
    found = torch.cat([decoder.play(row).audio for row in connection.send(codes)[0].float()])
    expected, late = codec.decode(codes)[0, 0], codec.decoder.lookahead
    assert torch.allclose(found[late:], expected[: len(expected) - late], atol=1e-5)
    assert not found[:late].any()


def test_frames_with_all_of_their_look_ahead_are_those_of_the_whole():
    codec = tiny_codec()
    codes, connection = random_codes(codec, 40), Link().connect(codec.quantizer)
    rows = list(connection.send(codes)[0].float())
    decoder = LiveDecoder(codec, connection, look_ahead=50)
    found = [decoder.play(row, rows[n + 1 : n + 1 + decoder.look_ahead]) for n, row in enumerate(rows)]
    whole = codec.decode(codes)[0, 0].detach()
    hop, after = codec.decoder.hop_length, decoder.look_ahead
    assert torch.allclose(torch.cat([p.audio for p in found])[: -after * hop], whole[: -after * hop], atol=1e-5)
    assert not any(played.concealed for played in found)


def test_what_has_not_come_is_concealed_for_the_time_being():
    codec = tiny_codec()
    codes, connection = random_codes(codec, 30), Link(concealment=RepeatLast()).connect(codec.quantizer)
    rows = list(connection.send(codes)[0].float())
    decoder = LiveDecoder(codec, connection, look_ahead=50)
    for n in range(20):
        played = decoder.play(None if n == 12 else rows[n], rows[n + 1 : n + 3])
        assert played.concealed == (n == 12)
    repeated = codes[..., :22].clone()
    repeated[..., 12] = repeated[..., 11]
    after = decoder.look_ahead
    known = torch.cat([repeated, repeated[..., -1:].expand(-1, -1, after)], -1)[..., : 20 + after]
    expected = codec.decode(known)[0, 0].detach()[19 * 320 : 20 * 320]
    assert torch.allclose(played.audio, expected, atol=1e-5)


def test_look_ahead_is_bounded():
    with pytest.raises(InvalidValue, match="look_ahead"):
        LiveEncoder(tiny_codec(), 1, look_ahead=51)


def test_long_losses_fade_and_come_back():
    fading = Fading(0.02, hold=0.04, fade=0.1)
    gains = [fading(torch.ones(10), lost=lost) for lost in [False, True, True, *[True] * 6, False, False]]
    assert all(bool((gain == 1).all()) for gain in gains[:3])
    assert [round(float(gain[-1]), 3) for gain in gains[3:9]] == [0.8, 0.6, 0.4, 0.2, 0.0, 0.0]
    assert float(gains[9][0]) == 0 and float(gains[9][-1]) == 1
    assert bool((gains[10] == 1).all())
