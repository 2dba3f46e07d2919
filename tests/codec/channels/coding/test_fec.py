"""Error correction: round trips, erasures, and block codes against exhaustive search and closed forms."""

import itertools
import math

import pytest
import torch
from scipy.stats import binomtest

from codec.channels.coding.base import log_likelihood_ratios
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode
from tests.benchmarks import fec as benchmark

SHORT = ("5", "7")
CODES = [
    Repetition(1), Repetition(2), Repetition(3), Repetition(8), Hamming74(), ConvolutionalCode(),
    ConvolutionalCode(SHORT), ConvolutionalCode(("133", "145", "175")), ConvolutionalCode(("561", "753")),
    ConvolutionalCode(("1", "3")),
]  # fmt: skip
by_name = pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)


def random_bits(*shape, seed=0):
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def binary_numbers(length):
    """All messages of a length, uint8 [2^length, length]."""
    return torch.tensor(list(itertools.product((0, 1), repeat=length)), dtype=torch.uint8)


@by_name
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 5000])
def test_what_arrives_unharmed_comes_back(code, length):
    bits = random_bits(3, length)
    sent = code.encode(bits)
    assert sent.dtype == torch.uint8
    assert sent.shape == (3, code.coded_length(length))
    for received in (sent, sent.float(), 0.1 + 0.8 * sent.double()):
        decoded = code.decode(received, length)
        assert decoded.dtype == torch.uint8
        assert torch.equal(decoded, bits)


@by_name
def test_rate_is_that_of_a_long_message(code):
    assert 10**9 / code.coded_length(10**9) == pytest.approx(code.rate, rel=1e-7)


@by_name
def test_rows_are_messages_of_their_own(code):
    received = random_bits(5, code.coded_length(40)).float() * 0.8 + 0.1
    together = code.decode(received, 40)
    assert torch.equal(together, torch.cat([code.decode(row[None], 40) for row in received]))
    assert torch.equal(code.encode(together), torch.cat([code.encode(row[None]) for row in together]))


@by_name
def test_everything_erased_is_known_to_be_unknown(code):
    decoded = code.decode(torch.full((2, code.coded_length(9)), 0.5), 9)
    assert decoded.dtype == torch.float32
    assert (decoded == 0.5).all()


@by_name
def test_a_bit_is_unknown_exactly_where_all_that_depends_on_it_is_erased(code):
    """Which channel bits depend on a payload bit is found by flipping it."""
    length = 12
    bits = random_bits(1, length)
    sent = code.encode(bits)
    depends = torch.cat([code.encode(bits ^ flip) != sent for flip in torch.eye(length).to(torch.uint8)[:, None]])
    generator = torch.Generator().manual_seed(1)
    unknown = 0
    for share in (0.5, 0.8, 0.95):
        for _ in range(20):
            erased = torch.rand(sent.shape, generator=generator) < share
            decoded = code.decode(sent.float().masked_fill(erased, 0.5), length)
            assert torch.equal(decoded[0] == 0.5, ~(depends & ~erased).any(1))
            unknown += int((decoded == 0.5).sum())
    assert unknown > 20


@by_name
def test_certain_probabilities_decode_as_hard_decisions(code):
    received = random_bits(20, code.coded_length(30), seed=3)
    assert torch.equal(code.decode(received.float(), 30), code.decode(received, 30))


def test_ratios_are_finite_symmetric_and_zero_for_erasures():
    ratios = log_likelihood_ratios(torch.tensor([0.0, 1e-30, 0.25, 0.5, 0.75, 1.0]))
    expected = torch.tensor([16.0, 16.0, math.log(3), 0.0, -math.log(3), -16.0], dtype=torch.float64)
    assert torch.allclose(ratios, expected, rtol=1e-12)
    assert ratios[0] == -ratios[-1]
    assert ratios[3] == 0


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5])
def test_repetition_is_a_majority_vote_with_ties_for_the_first_copy(times):
    received = binary_numbers(times)  # each pattern is what arrives of one bit
    decoded = Repetition(times).decode(received, 1)[:, 0]
    for pattern, bit in zip(received.tolist(), decoded.tolist(), strict=True):
        ones = sum(pattern)
        assert bit == (pattern[0] if 2 * ones == times else int(2 * ones > times))


def test_repetition_weighs_probabilities():
    def decode(*probabilities):
        return Repetition(len(probabilities)).decode(torch.tensor([probabilities]), 1).item()

    assert decode(0.9, 0.4, 0.4) == 1  # two of three say zero, less surely
    assert decode(0.7, 0.25, 0.3) == 0
    assert decode(0.5, 1.0, 0.0) == 1  # a tie: the first that arrived
    assert decode(0.5, 0.0, 1.0) == 0


@pytest.mark.parametrize(("times", "p"), [(2, 0.1), (3, 0.1), (4, 0.2), (5, 0.2)])
def test_repetition_errs_as_its_closed_form(times, p):
    bits = random_bits(1, 100_000)
    code, generator = Repetition(times), torch.Generator().manual_seed(times)
    flips = torch.rand((1, times * bits.numel()), generator=generator) < p
    wrong = int((code.decode(code.encode(bits) ^ flips, bits.numel()) != bits).sum())
    law = [math.comb(times, k) * p**k * (1 - p) ** (times - k) for k in range(times + 1)]
    rate = sum(q * (2 * k > times) + 0.5 * q * (2 * k == times) for k, q in enumerate(law))
    assert binomtest(wrong, bits.numel(), rate).pvalue > 1e-4


def test_hamming_corrects_every_single_error():
    payload = binary_numbers(4)
    sent = Hamming74().encode(payload)
    assert min(int((a != b).sum()) for a, b in itertools.combinations(sent, 2)) == 3
    for place in range(7):
        received = sent.clone()
        received[:, place] ^= 1
        assert torch.equal(Hamming74().decode(received, 4), payload)


def test_hamming_decodes_every_pattern_to_the_nearest_codeword():
    payload, received = binary_numbers(4), binary_numbers(7)
    sent = torch.tensor([[a, b, c, d, a ^ b ^ d, a ^ c ^ d, b ^ c ^ d] for a, b, c, d in payload.tolist()])
    distances = (received[:, None] != sent).sum(2)  # [128, 16]
    assert (distances.min(1).values <= 1).all()
    assert torch.equal(Hamming74().decode(received, 4), payload[distances.argmin(1)])


def test_hamming_takes_the_likeliest_codeword_of_probabilities():
    payload = binary_numbers(4)
    sent = Hamming74().encode(payload).double()
    received = torch.rand((500, 7), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    likelihoods = (sent * received[:, None] + (1 - sent) * (1 - received[:, None])).prod(2)
    assert torch.equal(Hamming74().decode(received, 4), payload[likelihoods.argmax(1)])


def test_hamming_errs_as_its_closed_form():
    """By count of wrong payload bits over all error patterns of a weight, which is exact, and through noise."""
    patterns = binary_numbers(7)
    wrong = Hamming74().decode(patterns, 4).sum(1)
    for p in (0.01, 0.2, 0.5):
        weights = patterns.sum(1).double()
        exact = float((wrong * p**weights * (1 - p) ** (7 - weights)).sum()) / 4
        assert benchmark.hamming_bit_error_rate(p) == pytest.approx(exact, rel=1e-12)
    eb_n0_db = 6.0
    wrong, sent = benchmark.bit_errors(Hamming74(), eb_n0_db, levels=2, bits=1_000_000)
    expected = benchmark.hamming_bit_error_rate(0.5 * math.erfc(math.sqrt(4 / 7 * 10 ** (eb_n0_db / 10))))
    spread = (4 * expected / sent) ** 0.5  # at most, were the four bits of a block wrong together
    assert wrong > 300
    assert abs(wrong / sent - expected) < 4 * spread


def test_uncoded_bits_need_what_the_textbook_says():
    wrong, sent = benchmark.bit_errors(Repetition(1), 6.79, levels=2, bits=1_000_000)
    assert binomtest(wrong, sent, 1e-3).pvalue > 1e-4


def test_impossible_repetition_is_refused():
    with pytest.raises(ValueError, match="times 0"):
        Repetition(0)


@pytest.mark.parametrize("bits", [
    torch.zeros(4, dtype=torch.uint8), torch.zeros(1, 0, dtype=torch.uint8), torch.zeros(1, 4),
    torch.full((1, 4), 2, dtype=torch.uint8),
])  # fmt: skip
def test_wrong_payload_is_refused(bits):
    with pytest.raises(ValueError, match="bits of shape"):
        Hamming74().encode(bits)


@pytest.mark.parametrize(("received", "length", "match"), [
    (torch.zeros(1, 7, dtype=torch.uint8), 5, r"must be \[B, 14\]"),
    (torch.zeros(1, 0, dtype=torch.uint8), 0, "at least 1"),
    (torch.zeros(7, dtype=torch.uint8), 4, r"shape \[7\]"),
    (torch.zeros(1, 7, dtype=torch.int64), 4, "int64"),
    (torch.full((1, 7), 2, dtype=torch.uint8), 4, "zeros and ones"),
    (torch.full((1, 7), 1.5), 4, "1.5"),
    (torch.full((1, 7), float("nan")), 4, "nan"),
])  # fmt: skip
def test_wrong_receptions_are_refused(received, length, match):
    with pytest.raises(ValueError, match=match):
        Hamming74().decode(received, length)
