"""Error correction: round trips, posteriors against enumeration of all payloads, block codes against closed forms."""

import itertools
import math

import pytest
import torch
from scipy.stats import binomtest

from codec.channels.coding.base import DEFAULT_ERROR_RATE, log_likelihood_ratios, probabilities_of_ones
from codec.channels.coding.block_codes import Hamming74, Repetition
from codec.channels.coding.convolutional import ConvolutionalCode
from tests.benchmarks import fec as benchmark

SHORT = ("5", "7")
CODES = [
    Repetition(1), Repetition(2), Repetition(3), Repetition(8), Hamming74(), ConvolutionalCode(),
    ConvolutionalCode(SHORT), ConvolutionalCode(("133", "145", "175")), ConvolutionalCode(("561", "753")),
    ConvolutionalCode(("1", "3")), ConvolutionalCode(systematic=True), ConvolutionalCode(("7", "5"), systematic=True),
    ConvolutionalCode(SHORT, puncture=("10", "11")), ConvolutionalCode(systematic=True, puncture=("111", "110")),
]  # fmt: skip
by_name = pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)


def random_bits(*shape, seed=0):
    return torch.randint(2, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def binary_numbers(length):
    """All messages of a length, uint8 [2^length, length]."""
    return torch.tensor(list(itertools.product((0, 1), repeat=length)), dtype=torch.uint8)


def check_what_arrives_unharmed(code, length, doubtful):
    """It comes back, with certainty where it is certain; `doubtful` makes probabilities of the channel bits."""
    bits = random_bits(3, length)
    sent = code.encode(bits)
    assert sent.dtype == torch.uint8
    assert sent.shape == (3, code.coded_length(length))
    for certain in (code.decode(sent, length, error_rate=0.0), code.decode(sent.float(), length),
                    code.decode(1 - sent, length, error_rate=1.0)):  # fmt: skip
        assert certain.dtype == torch.uint8
        assert torch.equal(certain, bits)
    for uncertain in (code.decode(sent, length), code.decode(doubtful(sent.double()), length)):
        assert uncertain.dtype == torch.float32
        assert torch.equal(uncertain > 0.5, bits.bool())
        assert ((uncertain > 0) & (uncertain < 1)).all()


@by_name
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 7, 8, 9, 63, 64, 65, 1000, 5000])
def test_what_arrives_unharmed_comes_back(code, length):
    check_what_arrives_unharmed(code, length, lambda sent: 0.1 + 0.8 * sent)


@by_name
def test_rate_is_that_of_a_long_message(code):
    assert 10**9 / code.coded_length(10**9) == pytest.approx(code.rate, rel=1e-7)


@by_name
def test_rows_are_messages_of_their_own(code):
    received = random_bits(5, code.coded_length(40)).float() * 0.8 + 0.1
    together = code.decode(received, 40)
    assert torch.equal(together, torch.cat([code.decode(row[None], 40) for row in received]))
    bits = (together > 0.5).to(torch.uint8)
    assert torch.equal(code.encode(bits), torch.cat([code.encode(row[None]) for row in bits]))


@by_name
def test_everything_erased_is_known_to_be_unknown(code):
    decoded = code.decode(torch.full((2, code.coded_length(9)), 0.5), 9)
    assert decoded.dtype == torch.float32
    assert (decoded == 0.5).all()


def enumerated(code, ones, length):
    """Posteriors from all payloads, and which bits those payloads that are possible agree on: both `[B, N]`."""
    payloads = binary_numbers(length)
    sent = code.encode(payloads).bool()  # [2^N, M]
    logs = torch.where(sent, ones[:, None], 1 - ones[:, None]).log().sum(2)  # [B, 2^N]
    possible = (logs > -math.inf).double()
    counts = possible @ payloads.double()
    agreed = (counts == 0) | (counts == possible.sum(1, keepdim=True))
    return logs.softmax(1) @ payloads.double(), agreed


LENGTH, ROWS = 9, 60


def reception(code, kind):
    """Channel bits of random payloads as received: the argument of `decode`, its error rate, probabilities of a one."""
    draw = torch.Generator().manual_seed(KINDS.index(kind))
    sent = code.encode(random_bits(ROWS, LENGTH, seed=4))
    noisy = (sent + 0.7 * torch.randn(sent.shape, generator=draw, dtype=torch.float64)).mul(3).sub(1.5).sigmoid()
    soft = torch.rand(sent.shape, generator=draw) < 0.5
    lost = torch.rand(sent.shape, generator=draw) < torch.linspace(0, 1, ROWS)[:, None]
    if isinstance(kind, float):
        hard = sent ^ (torch.rand(sent.shape, generator=draw) < kind)
        return hard, kind, (hard.double() - kind).abs()
    received = {
        "soft": noisy, "single": noisy.float(), "lost": sent.double().masked_fill(lost, 0.5),
        "soft or lost": noisy.masked_fill(lost, 0.5), "soft or certain": torch.where(soft, noisy, sent.double()),
        "all": torch.where(soft, noisy, sent.double()).masked_fill(lost, 0.5),
    }[kind]  # fmt: skip
    return received, None, received.double()


KINDS = ["soft", "single", "lost", "soft or lost", "soft or certain", "all", 1e-4, 0.1, 0.5, 0.8]


@by_name
@pytest.mark.parametrize("kind", KINDS)
def test_posteriors_are_those_of_enumeration(code, kind):
    received, error_rate, ones = reception(code, kind)
    decoded = code.decode(received, LENGTH, error_rate=error_rate)
    expected, agreed = enumerated(code, ones, LENGTH)
    assert (decoded - expected).abs().max() < 1e-6
    assert torch.equal((decoded == 0) | (decoded == 1), agreed)
    assert torch.equal(decoded == 0.5, (expected - 0.5).abs() < 1e-9)
    if kind in ("lost", "all"):
        assert 0 < agreed.sum() < agreed.numel()
    if kind == "lost":
        assert ((decoded == 0.5) | agreed).all()


@by_name
@pytest.mark.parametrize("ends", [(1e-12, 1 - 1e-12), (5e-324, 1 - 2**-53), (1e-45, 1 - 2**-24)])
def test_strong_evidence_is_never_certain(code, ends):
    """Of 300 bits, whose ratios add up; and of noise, whose ratios collide."""
    low, high = torch.tensor(ends, dtype=torch.float32 if ends[0] == 1e-45 else torch.float64)
    bits = random_bits(4, 300)
    for sent, known in ((code.encode(bits), True), (random_bits(4, code.coded_length(300)), False)):
        decoded = code.decode(torch.where(sent.bool(), high, low), 300)
        assert decoded.dtype == torch.float32
        assert ((decoded > 0) & (decoded < 1)).all()
        assert not known or torch.equal(decoded > 0.5, bits.bool())


def test_strong_evidence_that_collides_does_not_underflow():
    """A code of 128 channel bits a memory, each generator eight times: its ratios are clamped to 600 / 128."""
    code = ConvolutionalCode(("561", "753") * 8)
    pairs = random_bits(ROWS, LENGTH + code.memory, 2, seed=5)
    hard = pairs.repeat(1, 1, 8).flatten(1)
    decoded = code.decode(hard, LENGTH, error_rate=1e-300)
    expected, _ = enumerated(code, (hard.double() - 1 / (1 + math.exp(600 / 128))).abs(), LENGTH)
    assert (decoded - expected).abs().max() < 1e-6


@pytest.mark.parametrize("code", CODES[1:], ids=lambda code: code.name)
def test_certain_bits_that_contradict_each_other_are_hard_decisions(code):
    bits = random_bits(40, 30, seed=3)
    received = code.encode(bits)
    received[:20] ^= torch.rand(received[:20].shape, generator=torch.Generator().manual_seed(0)) < 0.3
    decoded = code.decode(received.float(), 30)
    assert torch.equal(decoded[:20], code.decode(received[:20], 30))
    assert ((decoded[:20] > 0) & (decoded[:20] < 1)).all()
    assert torch.equal(decoded[20:], bits[20:].float())
    assert torch.equal(code.decode(received, 30, error_rate=0.0), decoded)
    weak = received.double().masked_fill(torch.arange(received.shape[1]) % 3 == 0, 0.4)
    assert not code.decode(weak, 30).isnan().any()


@by_name
def test_an_error_rate_beyond_half_inverts(code):
    received = random_bits(3, code.coded_length(50))
    assert torch.equal(code.decode(received, 50, error_rate=0.9), code.decode(1 - received, 50, error_rate=0.1))
    assert torch.equal(code.decode(received, 50), code.decode(received, 50, error_rate=DEFAULT_ERROR_RATE))


@pytest.mark.parametrize("error_rate", [-0.1, 1.1, math.nan])
def test_impossible_error_rates_are_refused(error_rate):
    with pytest.raises(ValueError, match="error_rate"):
        Hamming74().decode(torch.zeros(1, 7, dtype=torch.uint8), 4, error_rate=error_rate)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ratios_are_symmetric_infinite_for_certain_bits_and_zero_for_erasures(dtype):
    ratios = log_likelihood_ratios(torch.tensor([0.0, 1e-30, 0.25, 0.5, 0.75, 1.0], dtype=dtype))
    limit = math.log((2**24 if dtype == torch.float32 else 2**53) - 1)
    expected = torch.tensor([math.inf, limit, math.log(3), 0.0, -math.log(3), -math.inf], dtype=torch.float64)
    assert torch.allclose(ratios, expected, rtol=1e-12)
    assert ratios[3] == 0
    largest = torch.tensor([1.0], dtype=dtype).nextafter(torch.zeros(1, dtype=dtype))
    assert log_likelihood_ratios(largest).item() == pytest.approx(-limit, rel=1e-12)


def test_probabilities_invert_ratios():
    ratios = torch.tensor([math.inf, 2000.0, 1.0, 9e-8, 0.0, -9e-8, -1.0, -2000.0, -math.inf], dtype=torch.float64)
    ones = probabilities_of_ones(ratios)
    assert ones[[0, 3, 4, 5, 8]].tolist() == [0.0, 0.5, 0.5, 0.5, 1.0]
    assert ones[2].item() == pytest.approx(1 / (1 + math.e))
    assert 0 < ones[1] < 1e-37
    assert ones[7].item() == 1 - 2**-24


@pytest.mark.parametrize("times", [1, 2, 3, 4, 5])
def test_repetition_is_a_majority_vote_with_unknown_ties(times):
    received = binary_numbers(times)  # each pattern is what arrives of one bit
    decoded = Repetition(times).decode(received, 1, error_rate=0.1)[:, 0]
    for pattern, one in zip(received.tolist(), decoded.tolist(), strict=True):
        lead = 2 * sum(pattern) - times  # copies
        assert one == pytest.approx(9**lead / (1 + 9**lead), abs=1e-7)
        assert (one == 0.5) == (lead == 0)


def test_repetition_weighs_probabilities():
    def decode(*probabilities):
        return Repetition(len(probabilities)).decode(torch.tensor([probabilities]), 1).item()

    assert decode(0.9, 0.4, 0.4) == pytest.approx(0.8)  # two of three say zero, less surely
    assert decode(0.7, 0.25, 0.3) == pytest.approx(0.25)
    assert decode(0.5, 0.25, 0.75) == 0.5
    assert decode(0.5, 1.0, 0.01) == 1.0  # certain
    assert decode(0.5, 1.0, 0.0) == 0.5  # a contradiction


@pytest.mark.parametrize(("times", "p"), [(2, 0.1), (3, 0.1), (4, 0.2), (5, 0.2)])
def test_repetition_errs_as_its_closed_form(times, p):
    bits = random_bits(1, 100_000)
    code, generator = Repetition(times), torch.Generator().manual_seed(times)
    flips = torch.rand((1, times * bits.numel()), generator=generator) < p
    decoded = code.decode(code.encode(bits) ^ flips, bits.numel(), error_rate=p)
    law = [math.comb(times, k) * p**k * (1 - p) ** (times - k) for k in range(times + 1)]
    wrong, tied = int((decoded.round() != bits)[decoded != 0.5].sum()), int((decoded == 0.5).sum())
    assert binomtest(wrong, bits.numel(), sum(q for k, q in enumerate(law) if 2 * k > times)).pvalue > 1e-4
    assert binomtest(tied, bits.numel(), sum(q for k, q in enumerate(law) if 2 * k == times)).pvalue > 1e-4


def test_hamming_corrects_every_single_error():
    payload = binary_numbers(4)
    sent = Hamming74().encode(payload)
    assert min(int((a != b).sum()) for a, b in itertools.combinations(sent, 2)) == 3
    for place in range(7):
        received = sent.clone()
        received[:, place] ^= 1
        assert torch.equal(Hamming74().decode(received, 4) > 0.5, payload.bool())


def test_hamming_decodes_every_pattern_to_the_nearest_codeword():
    payload, received = binary_numbers(4), binary_numbers(7)
    sent = torch.tensor([[a, b, c, d, a ^ b ^ d, a ^ c ^ d, b ^ c ^ d] for a, b, c, d in payload.tolist()])
    distances = (received[:, None] != sent).sum(2)  # [128, 16]
    assert (distances.min(1).values <= 1).all()
    assert torch.equal(Hamming74().decode(received, 4) > 0.5, payload[distances.argmin(1)].bool())


def test_hamming_errs_as_its_closed_form():
    """By count of wrong payload bits over all error patterns of a weight, which is exact, and through noise."""
    patterns = binary_numbers(7)
    wrong = (Hamming74().decode(patterns, 4) > 0.5).sum(1)
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
