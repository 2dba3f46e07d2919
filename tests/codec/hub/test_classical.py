"""Opus and Codec 2 as systems: rates, alignment, losses, damaged payloads, the same audio for the same packets."""

import numpy as np
import pytest
import torch

from codec import BinarySymmetricChannel, Codec2, FrameErasureChannel, Link, OpusCodec, PacketLossChannel
from codec.errors import InvalidValue
from codec.hub import classical
from codec.hub.classical import CODEC2_MODES, opus_samples
from codec.training.comparison_module import decode_at, encode_at
from tests.support.packages import run_without
from tests.support.speech import speech_like

NAMES = ["opus", "opus-40ms", "codec2-3200", "codec2-1300", "codec2-700C"]


@pytest.fixture(params=NAMES)
def codec(request):
    return built(request.param)


def built(name):
    kind, _, option = name.partition("-")
    pytest.importorskip("av" if kind == "opus" else "pycodec2")
    if kind == "opus":
        return OpusCodec(frame_ms=int(option[:2] or 20)) if option else OpusCodec()
    return Codec2(option)


def speech(seconds=2.0):
    return torch.from_numpy(speech_like(5, seconds))[None, None]


def received(codec, audio, channel, seed=0):
    codes = encode_at(codec, audio, 16_000)
    latents = Link().connect(codec.quantizer).transmit(codes, channel, torch.Generator().manual_seed(seed))
    return decode_at(codec, latents, 16_000, length=audio.shape[-1])[0, 0].numpy()


def envelope(signal):
    """Energy in windows of 10 ms, every sample at 16 kHz."""
    return np.convolve(np.square(np.asarray(signal, dtype=np.float64)), np.hanning(161), "same") ** 0.25


@pytest.mark.parametrize(("name", "bits", "frame_rate"), [
    ("opus", 120, 50), ("opus-40ms", 240, 25), ("codec2-3200", 64, 50), ("codec2-1300", 52, 25),
    ("codec2-700C", 28, 25),
])  # fmt: skip
def test_the_rate_is_the_codecs_own_and_each_packet_fills_it(name, bits, frame_rate):
    codec = built(name)
    assert (codec.bits_per_frame, codec.frame_rate) == (bits, frame_rate)
    assert codec.bit_rate == bits * frame_rate
    assert sum(parameter.numel() for parameter in codec.parameters()) == 0
    codes = codec.encode(torch.nn.functional.pad(speech(), (0, 1)))
    assert codes[0, :-1].unique().numel() > 20
    for seconds in (0.0, 0.3):
        audio = torch.zeros(1, 1, 16_000) + seconds * torch.randn(
            1, 1, 16_000, generator=torch.Generator().manual_seed(0)
        )
        assert codec.encode(audio).shape[1] == -(-bits // 8)


@pytest.mark.parametrize("mode", CODEC2_MODES)
def test_modes_are_as_the_package_states_them(mode):
    package = pytest.importorskip("pycodec2").Codec2(int(mode.rstrip("C")))
    bits, hop, _ = CODEC2_MODES[mode]
    assert (package.bits_per_frame(), package.samples_per_frame()) == (bits, hop)


@pytest.mark.parametrize("length", [1, 159, 320, 641, 8_001])
def test_any_length_gives_as_many_samples_and_finite_ones(codec, length):
    audio = speech()[..., :length]
    codes = codec.encode(audio)
    assert codes.shape[-1] == -(-length // codec.hop_length)
    decoded = codec.decode(codes, length=length)
    assert decoded.shape == (1, 1, length) and torch.isfinite(decoded).all()


def test_silence_stays_silent(codec):
    assert received(codec, torch.zeros(1, 1, 16_000), BinarySymmetricChannel(0.0)).__abs__().max() < 0.01


@pytest.mark.parametrize("name", NAMES[2:])
def test_the_audio_of_codec2_is_aligned_with_the_input(name):
    codec, audio = built(name), speech(4.0)
    found, sent = envelope(received(codec, audio, BinarySymmetricChannel(0.0))), envelope(audio[0, 0])
    lags = np.arange(-800, 801, 16)
    middle = slice(1000, -1000)
    fits = [np.corrcoef(np.roll(found, -lag)[middle], sent[middle])[0, 1] for lag in lags]
    assert max(fits) > 0.8
    assert abs(lags[int(np.argmax(fits))]) <= 80  # 5 ms


@pytest.mark.parametrize("name", NAMES[:2])
def test_opus_is_aligned_to_the_sample(name):
    codec, audio = built(name), speech(4.0)
    found, sent = received(codec, audio, BinarySymmetricChannel(0.0)), audio[0, 0].numpy()
    fits = [np.dot(np.roll(found, -lag), sent) for lag in range(-40, 41)]
    assert abs(int(np.argmax(fits)) - 40) <= 1


def test_the_same_packets_give_the_same_audio_in_any_order_and_batch(codec):
    """Codec 2 draws phases from a generator of the process; Opus keeps a state."""
    codes = codec.encode(torch.cat([speech(), 0.5 * speech().flip(-1)]))
    together = codec.decode(codes)
    assert torch.equal(codec.decode(codes[1:]), together[1:])
    assert torch.equal(codec.decode(codes[:1]), together[:1])
    assert torch.equal(codec.encode(speech()), codes[:1])


def test_flipped_bits_are_survived_and_do_harm(codec):
    audio = speech()
    clean = received(codec, audio, BinarySymmetricChannel(0.0))
    for rate in (0.01, 0.1, 0.5):
        damaged = received(codec, audio, BinarySymmetricChannel(rate))
        assert np.isfinite(damaged).all() and len(damaged) == len(clean)
        assert np.abs(damaged - clean).max() > 0.01


def test_a_flip_of_one_payload_bit_is_one_bit_of_the_packet(codec, monkeypatch):
    seen = []
    monkeypatch.setattr(type(codec), "decoded", lambda self, packets: seen.append(packets) or np.zeros(9, np.float32))
    codes = codec.encode(speech())
    packets = codec.packets(torch.nn.functional.pad(speech(), (0, -32_000 % codec.hop_length))[0, 0].numpy())
    codec.decode(codes)
    assert seen[-1] == packets
    bits = Link().connect(codec.quantizer).send(codes)
    bits[0, 3, 5] ^= 1
    connection = Link().connect(codec.quantizer)
    codec.decode_latents(connection.latents(connection.receive(bits)))
    assert [i for i, pair in enumerate(zip(seen[-1], packets, strict=True)) if pair[0] != pair[1]] == [3]
    assert int.from_bytes(seen[-1][3], "big") ^ int.from_bytes(packets[3], "big") == 4 << (8 * len(packets[3]) - 8)


def test_one_lost_bit_loses_its_packet(codec, monkeypatch):
    seen = []
    monkeypatch.setattr(type(codec), "decoded", lambda self, packets: seen.append(packets) or np.zeros(9, np.float32))
    codes = codec.encode(speech())
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[0, -1, 4] = True
    codec.decode(codes, erased)
    assert [packet is None for packet in seen[0]] == [i == 4 for i in range(codes.shape[-1])]


def test_losses_are_concealed(codec):
    audio = speech()
    clean, lossy = (received(codec, audio, PacketLossChannel(rate, 1)) for rate in (0.0, 0.1))
    assert np.abs(lossy - clean).max() > 0.01
    assert np.corrcoef(envelope(lossy), envelope(clean))[0, 1] > 0.8
    assert (
        np.abs(received(codec, audio, FrameErasureChannel(1.0))).max() == 0
    )  # nothing received, nothing to conceal from


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_opus_conceals_from_what_came_before(frame_ms):
    """Its own concealment goes on with the last sound; a frame of silence would be no concealment."""
    pytest.importorskip("av")
    codec = OpusCodec(8000, frame_ms=frame_ms)
    tone = 0.3 * torch.sin(torch.arange(16_000) * 2 * torch.pi * 200 / 16_000)[None, None]
    codes = codec.encode(tone)
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[..., 10] = True
    decoded, clean = codec.decode(codes, erased)[0, 0], codec.decode(codes)[0, 0]
    lost = slice(10 * codec.hop_length, 11 * codec.hop_length)
    assert decoded[lost].square().mean() > (0.3 if frame_ms < 60 else 0.03) * clean[lost].square().mean()  # it fades
    assert not torch.equal(decoded[lost], clean[lost])


def test_codec2_repeats_the_packet_before_and_starts_silent():
    codec = built("codec2-3200")
    codes = codec.encode(speech()[..., :8_000])
    erased = torch.zeros_like(codes, dtype=torch.bool)
    erased[..., 20:22] = True
    repeated = codes.clone()
    repeated[..., 20:22] = codes[..., 19:20]
    assert torch.equal(codec.decode(codes, erased), codec.decode(repeated))
    erased = torch.zeros_like(erased)
    erased[..., :10] = True
    decoded = codec.decode(codes, erased)[0, 0]
    assert decoded[: 9 * 160].abs().max() == 0 and decoded[10 * 160 :].abs().max() > 0.01


def test_a_packet_of_another_duration_counts_as_lost():
    codec = built("opus")
    codes = codec.encode(speech())
    longer, erased = codes.clone(), torch.zeros_like(codes, dtype=torch.bool)
    longer[0, 0, 20] = 3 << 3  # SILK, 60 ms
    erased[..., 20] = True
    assert torch.equal(codec.decode(longer), codec.decode(codes, erased))
    broken = codes.clone()
    broken[0, :2, 20] = torch.tensor([(1 << 3) + 2, 255])  # two frames of 20 ms
    assert torch.equal(codec.decode(broken), codec.decode(codes, erased))


@pytest.mark.parametrize(("packet", "samples"), [
    (bytes([0]), 480), (bytes([1 << 3]), 960), (bytes([3 << 3]), 2880), (bytes([12 << 3]), 480),
    (bytes([15 << 3]), 960), (bytes([16 << 3]), 120), (bytes([31 << 3]), 960),
    (bytes([(1 << 3) + 1]), 1920), (bytes([(16 << 3) + 2]), 240),
    (bytes([(1 << 3) + 3, 3]), 2880), (bytes([(1 << 3) + 3]), 0), (bytes([(1 << 3) + 3, 0]), 0),
    (bytes([(1 << 3) + 4]), 960),
], ids=str)  # fmt: skip
def test_durations_of_opus_packets(packet, samples):
    assert opus_samples(packet) == samples


@pytest.mark.parametrize(("build", "word"), [
    (lambda: OpusCodec(6100), "multiple of 400"), (lambda: OpusCodec(0), "bit_rate"),
    (lambda: OpusCodec(256_400), "256000"), (lambda: OpusCodec(400, frame_ms=40), "500"),
    (lambda: OpusCodec(256_000, frame_ms=40), "1275"),
    (lambda: OpusCodec(6000, frame_ms=15), "frame_ms"), (lambda: Codec2("450"), "3200, 2400"),
], ids=["bytes", "zero", "rate", "least", "packet", "duration", "mode"])  # fmt: skip
def test_what_the_codecs_do_not_have_is_refused(build, word):
    with pytest.raises(InvalidValue, match=word):
        build()


@pytest.mark.parametrize("frame_ms", [10, 20, 40, 60])
def test_each_rate_of_opus_gives_packets_of_its_size(frame_ms):
    pytest.importorskip("av")
    noise = 0.3 * torch.randn(1, 1, 4_800, generator=torch.Generator().manual_seed(0))
    for size in (6, 15, 30, 300):
        codec = OpusCodec(size * 8_000 // frame_ms, frame_ms=frame_ms)
        codes = codec.encode(noise)
        assert codes.shape[1] == size
        assert codec.decode(codes, length=4_800).shape[-1] == 4_800
    codec.packet_bits += 8
    with pytest.raises(InvalidValue, match="gave packets of"):
        codec.encode(noise)


@pytest.mark.slow
def test_a_missing_package_is_named():
    code = "from codec import {0} as use\ntry: use()\nexcept ValueError as error: print(error)"
    ended = run_without((["av"], code.format("OpusCodec")), (["pycodec2"], code.format("Codec2")))
    assert [end.output.strip() for end in ended] == [
        "Opus needs the package av: pip install '.[classic]'.",
        "Codec 2 needs the package pycodec2, for Python 3.11 and later: pip install '.[classic]'.",
    ]


def test_a_decoder_process_that_ends_is_told():
    pytest.importorskip("pycodec2")
    with pytest.raises(RuntimeError, match="ended"):
        classical.decode_clip(5, [b"12345678"])
    assert len(classical.decode_clip(3200, [b"12345678"])) == 320
