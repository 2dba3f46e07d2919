"""The arithmetic coder: lossless, as short as its models say, and never more than fixed length in packets."""

import numpy as np
import pytest
import torch

from codec.channels import CodePrior
from codec.channels.entropy_coding import AdaptiveDigit, EntropyCode, PacketCoder, adaptive_bits
from codec.channels.entropy_coding.coder import MeasuredDigit, decode, encode
from codec.errors import InvalidValue, MissingDependency
from codec.quantizers import FSQ
from tests.support.packages import run_without

pytest.importorskip("constriction")
DIGITS = ((4, 3), (5,))
SIZES = (12, 5)


def walk(frames: int, seed: int = 0) -> np.ndarray:
    """Codes `[2, F]` that depend on the frame before."""
    steps = np.random.default_rng(seed).choice([-1, 0, 0, 0, 1], size=(2, frames))
    return np.cumsum(steps, 1) % np.array(SIZES)[:, None]


def adaptive(order: int = 1) -> list[list[AdaptiveDigit]]:
    return [[AdaptiveDigit(size, order) for size in sizes] for sizes in DIGITS]


@pytest.mark.parametrize("frames", [0, 1, 2, 7, 300])
@pytest.mark.parametrize("order", [0, 1])
def test_what_is_decoded_was_encoded_in_as_many_bits_as_the_models_say(frames, order):
    for seed in range(5):
        codes = walk(frames, seed)
        bits = encode(codes, adaptive(order), DIGITS)
        assert np.array_equal(decode(bits, frames, adaptive(order), DIGITS), codes)
        assert -0.1 <= len(bits) - adaptive_bits([codes], DIGITS, order=order) <= 2


def test_all_clips_in_one_stream_need_the_long_run_length():
    codes = np.concatenate([walk(2000, seed) for seed in range(3)], 1)
    bits = encode(codes, adaptive(), DIGITS)
    assert np.array_equal(decode(bits, 6000, adaptive(), DIGITS), codes)
    assert len(bits) == pytest.approx(adaptive_bits([codes], DIGITS), rel=3e-4)


def test_the_end_is_cut_to_the_bit():
    """Any bits may follow, but not after one bit less; where the end is known, zeros that follow are not sent."""
    for seed in range(20):
        codes = walk(40, seed)
        bits, known = (encode(codes, adaptive(), DIGITS, end_known=end) for end in (False, True))

        def read(part, filled):
            more = np.full(200, filled, dtype=np.uint8)
            return np.array_equal(decode(np.concatenate([part, more]), 40, adaptive(), DIGITS), codes)  # noqa: B023

        assert read(bits, 0) and read(bits, 1) and set(bits.tolist()) <= {0, 1}
        assert not (read(bits[:-1], 0) and read(bits[:-1], 1))
        assert read(known, 0) and len(known) <= len(bits) and known[-1] == 1


def test_probabilities_near_zero_are_coded():
    sure = np.array([1 - 3e-12, 1e-12, 1e-12, 1e-12])
    models = [[MeasuredDigit(sure, np.stack([sure] * 4))]]
    codes = np.array([[0] * 50 + [3] + [0] * 50])
    bits = encode(codes, models, ((4,),))
    assert np.array_equal(decode(bits, 101, models, ((4,),)), codes) and len(bits) < 32


def test_any_bits_give_codes_of_the_codebooks():
    draws = np.random.default_rng(0)
    lengths = []
    for _ in range(50):
        found = decode(draws.integers(0, 2, 60).astype(np.uint8), 30, adaptive(), DIGITS)
        lengths.append(found.shape[1])
        assert (found >= 0).all() and (found < np.array(SIZES)[:, None]).all()
    assert max(lengths) == 30


def test_packets_decode_by_themselves_and_are_never_longer_than_codewords():
    codes = walk(23)
    coder = PacketCoder(EntropyCode(5), DIGITS, SIZES)
    packets = coder.packets(codes)
    assert [(p.first, p.frames) for p in packets] == [(0, 5), (5, 5), (10, 5), (15, 5), (20, 3)]
    for packet in reversed(packets):
        assert len(packet.bits) <= packet.frames * 7
        assert np.array_equal(coder.codes(packet), codes[:, packet.first : packet.first + packet.frames])
    assert [coder.header_bits(p) for p in packets] == [6, 6, 6, 6, 5]  # lengths 0 ... 35 and 0 ... 21
    assert coder.packets(codes) is packets and coder.packets(codes + 0) is packets  # kept
    assert coder.packets(walk(23, 1)) is not packets


def test_a_packet_that_coding_does_not_shorten_is_sent_as_it_is():
    codes = np.array([[11, 0, 5]])  # three different values: an adaptive model has nothing to learn from
    coder = PacketCoder(EntropyCode(3), ((4, 3),), (12,))
    (packet,) = coder.packets(codes)
    assert packet.bits.tolist() == [1, 0, 1, 1, 0, 0, 0, 0, 0, 1, 0, 1]
    wrong = packet.bits.copy()
    wrong[4:6] = 1  # 12: no code
    assert coder.codes(packet._replace(bits=wrong)).tolist() == [[11]]
    stream = PacketCoder(EntropyCode(), ((4, 3),), (12,))
    (packet,) = stream.packets(codes)
    assert stream.header_bits(packet) == 0 and stream.codes(packet).tolist() == codes.tolist()


def test_measured_probabilities_are_the_priors_and_do_not_change():
    prior = CodePrior("small_fsq")
    quantizer = FSQ(8, [4] * 8)
    coder = EntropyCode(prior=prior).fitted(quantizer)
    codes = torch.randint(0, 65_536, (1, 60), generator=torch.Generator().manual_seed(0)).numpy()
    bits = 0.0
    for i, (histogram, rows) in enumerate(zip(prior.histograms[0], prior.transitions[0], strict=True)):
        digit = codes[0] // 4**i % 4
        bits -= histogram[digit[0]].log2().item() + rows[digit[:-1], digit[1:]].log2().sum().item()
    (packet,) = coder.packets(codes)
    assert abs(len(packet.bits) - bits) <= 2 and np.array_equal(coder.codes(packet), codes)


def test_mistakes_are_one_sentence():
    with pytest.raises(InvalidValue, match="packet_frames 0"):
        EntropyCode(0)
    with pytest.raises(InvalidValue, match="order 2"):
        EntropyCode(order=2)
    with pytest.raises(InvalidValue, match="digits"):
        EntropyCode(prior=CodePrior("small_fsq")).fitted(FSQ(4, [4] * 4))


def test_without_the_package_it_says_what_to_install():
    code = "from codec import EntropyCode, adaptive_bits\nEntropyCode()"
    (ended,) = run_without((["constriction"], code))
    assert ended.status != 0 and "MissingDependency" in ended.output and "pip install '.[rate]'" in ended.output
    assert MissingDependency is not None
