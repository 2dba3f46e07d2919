"""Convolutional codes: the encoder's weights, and Viterbi against exhaustive search, others and textbook gains."""

import itertools

import pytest
import torch

from codec.channels.coding.base import log_likelihood_ratios
from codec.channels.coding.convolutional import ConvolutionalCode
from tests.benchmarks import fec as benchmark
from tests.codec.channels.coding.test_fec import SHORT, binary_numbers, random_bits


def shift_register(message, generators):
    """Convolutional encoding by one register, a bit at a time, written from the definition."""
    taps = [[int(bit) for bit in bin(int(g, 8))[2:]] for g in generators]
    depth = max(map(len, taps))
    register, sent = [0] * depth, []
    for bit in [*message, *[0] * (depth - 1)]:
        register = [bit, *register[:-1]]
        for tap in taps:
            padded = [0] * (depth - len(tap)) + tap
            sent.append(sum(r * t for r, t in zip(register, padded, strict=True)) % 2)
    return sent


@pytest.mark.parametrize("generators", [("133", "171"), SHORT, ("133", "145", "175"), ("1", "3"), ("23", "5")])
def test_convolutional_encoder_is_a_shift_register(generators):
    bits = random_bits(4, 30)
    expected = [shift_register(row, generators) for row in bits.tolist()]
    assert ConvolutionalCode(generators).encode(bits).tolist() == expected


def test_default_code_has_the_published_weights():
    """11 error events of weight 10 with 36 wrong bits, 38 of weight 12 with 211 (Conan 1984); all within 18 bits."""
    steps = torch.arange(17, -1, -1)
    messages = (torch.arange(1 << 17, 1 << 18)[:, None] >> steps & 1).to(torch.uint8)  # the first bit is a one
    idle = torch.zeros(len(messages), dtype=torch.long)
    one_event = torch.ones(len(messages), dtype=torch.bool)
    for bit in messages.T:  # six zeros before another one would be a return to state zero
        one_event &= (bit == 0) | (idle < 6)
        idle = torch.where(bit == 1, 0, idle + 1)
    weights = ConvolutionalCode().encode(messages).sum(1)
    assert weights.min() == 10
    for weight, events, wrong in ((10, 11, 36), (11, 0, 0), (12, 38, 211)):
        found = messages[one_event & (weights == weight)]
        assert (len(found), int(found.sum())) == (events, wrong)


@pytest.mark.parametrize("generators", [SHORT, ("133", "171"), ("5", "7", "7"), ("133", "145", "175")])
def test_viterbi_finds_what_exhaustive_search_finds(generators):
    """Over all messages of 8 bits: hard decisions by distance, which may tie, probabilities by likelihood."""
    code, messages = ConvolutionalCode(generators), binary_numbers(8)
    sent = torch.tensor([shift_register(message, generators) for message in messages.tolist()])
    hard = random_bits(300, code.coded_length(8), seed=5)
    distances = (hard[:, None] != sent).sum(2)  # [300, 256]
    chosen = (code.decode(hard, 8).long() << torch.arange(7, -1, -1)).sum(1)
    assert torch.equal(distances.gather(1, chosen[:, None])[:, 0], distances.min(1).values)
    soft = torch.rand((300, code.coded_length(8)), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    logs = sent.double() @ torch.log(soft).T + (1 - sent).double() @ torch.log1p(-soft).T  # [256, 300]
    assert torch.equal(code.decode(soft, 8), messages[logs.argmax(0)])


def dictionary_viterbi(ratios, generators):
    """Best payload and its cost, with paths kept in a dictionary by their last bits."""
    depth = max(int(g, 8).bit_length() for g in generators)
    outputs = {r: shift_register(r[::-1], generators)[(depth - 1) * len(generators) :][: len(generators)]
               for r in itertools.product((0, 1), repeat=depth)}  # fmt: skip
    paths = {(0,) * (depth - 1): (0.0, [])}
    for step in ratios:
        grown = {}
        for state, (cost, path) in paths.items():
            for bit in (0, 1):
                new = cost + sum(x for x, sent in zip(step, outputs[(bit, *state)], strict=True) if sent)
                key = (bit, *state[:-1])
                if key not in grown or new < grown[key][0]:
                    grown[key] = (new, [*path, bit])
        paths = grown
    cost, path = paths[(0,) * (depth - 1)]
    return path[: len(path) - depth + 1], cost


@pytest.mark.parametrize("generators", [SHORT, ("133", "171"), ("133", "145", "175")])
def test_viterbi_agrees_with_another_on_long_messages(generators):
    code, length = ConvolutionalCode(generators), 150
    sent = code.encode(random_bits(1, length, seed=7))
    noisy = benchmark.transmit(sent, -2.0, None, torch.Generator().manual_seed(8))
    ratios = log_likelihood_ratios(noisy).unflatten(1, (-1, len(generators)))[0].tolist()
    expected, _ = dictionary_viterbi(ratios, generators)
    assert code.decode(noisy, length)[0].tolist() == expected
    hard = (noisy > 0.5).to(torch.uint8)
    ratios = (1.0 - 2.0 * hard.double()).unflatten(1, (-1, len(generators)))[0].tolist()
    _, cost = dictionary_viterbi(ratios, generators)  # paths may tie, their costs are one
    chosen = code.encode(code.decode(hard, length))
    assert float((chosen * (1.0 - 2.0 * hard)).sum()) == cost


def test_viterbi_agrees_with_sionna():
    with torch.random.fork_rng():  # its import seeds the global generator
        conv = pytest.importorskip("sionna.phy.fec.conv")
    encoder = conv.ConvEncoder(gen_poly=("1011011", "1111001"), terminate=True, device="cpu")
    decoder = conv.ViterbiDecoder(encoder=encoder, method="soft_llr", device="cpu")
    code, bits = ConvolutionalCode(), random_bits(16, 300, seed=9)
    sent = code.encode(bits)
    assert torch.equal(encoder(bits.float()), sent.float())
    noisy = benchmark.transmit(sent, -3.0, None, torch.Generator().manual_seed(10))
    decoded = code.decode(noisy, 300)
    assert 0.01 < (decoded != bits).float().mean() < 0.3
    assert torch.equal(decoder(-log_likelihood_ratios(noisy).float()), decoded.float())  # its ratios are of a one


def test_viterbi_decodes_across_the_chunks_it_works_in():
    code, bits = ConvolutionalCode(), random_bits(300, 50, seed=11)  # 16 steps a chunk
    received = code.encode(bits)
    received[:, ::19] ^= 1
    assert torch.equal(code.decode(received, 50), bits)
    long = random_bits(1, 20_000, seed=12)  # 4096 steps a chunk
    received = code.encode(long)
    received[:, ::19] ^= 1
    assert torch.equal(code.decode(received, 20_000), long)


def test_a_clean_gap_is_unknown_but_for_what_its_end_state_tells():
    """Of L steps lost, the K − 1 bits that are the state after them follow from what comes next."""
    code, bits = ConvolutionalCode(), random_bits(1, 100, seed=13)
    received = code.encode(bits).float()
    received[:, 2 * 40 : 2 * 60] = 0.5
    decoded = code.decode(received, 100)
    assert ((decoded == 0.5).nonzero()[:, 1]).tolist() == list(range(40, 54))
    known = decoded != 0.5
    assert torch.equal(decoded[known], bits[known].float())


@pytest.mark.parametrize(("levels", "eb_n0_db"), [(8, 3.0), (None, 2.75), (2, 4.75)])
def test_default_code_gains_what_the_textbook_says(levels, eb_n0_db):
    """Jacobs 1974 with eight levels; unquantized 0.25 dB better, hard decisions 2 dB worse than that (Heller 1971).

    Eb/N0 for a bit error rate of 1e-3 within 0.3 dB, from at least 300 errors on either side.
    """
    found = benchmark.needed_eb_n0_db(ConvolutionalCode(), eb_n0_db, levels=levels, bits=1_000_000)
    assert abs(found - eb_n0_db) < 0.3


@pytest.mark.parametrize("generators", [
    (), ("7",), ("5", "8"), ("5", ""), ("5", "0"), ("1", "1"), ("1000", "1001"), "57", (133, 171),
])  # fmt: skip
def test_impossible_generators_are_refused(generators):
    with pytest.raises(ValueError, match="generators"):
        ConvolutionalCode(generators)


@pytest.mark.parametrize("generators", [("5", "3"), ("6", "4"), ("14", "12")])
def test_generators_with_a_common_factor_are_refused(generators):
    """x² + 1 = (x + 1)²; and all even, which is a delay."""
    with pytest.raises(ValueError, match="common factor"):
        ConvolutionalCode(generators)
