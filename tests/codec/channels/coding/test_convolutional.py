"""Convolutional codes: the encoder's weights; posteriors against others, their calibration, and textbook gains."""

import itertools

import pytest
import torch

from codec.channels import FrameErasureChannel
from codec.channels.coding.base import log_likelihood_ratios
from codec.channels.coding.convolutional import ConvolutionalCode
from codec.channels.coding.protection import ProtectedChannel
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


def viterbi(llrs, generators):
    """Most likely payloads `[B, N]` from ratios `[B, T, n]`: of two paths into a state, the better one goes on."""
    memory = max(int(g, 8).bit_length() for g in generators) - 1
    registers = torch.arange(2 << memory)
    sent = torch.tensor([shift_register([r >> place & 1 for place in range(memory + 1)], generators)
                         for r in registers.tolist()]).double()  # fmt: skip
    sent = sent[:, len(generators) * memory :][:, : len(generators)]  # [2S, n]
    cost = torch.full((len(llrs), 1 << memory), torch.inf, dtype=torch.float64)
    cost[:, 0] = 0
    oldest = []
    for step in llrs.unbind(1):
        candidates = torch.cat([cost, cost], 1) + step @ sent.T
        cost, chosen = candidates.unflatten(1, (-1, 2)).min(2)
        oldest.append(chosen)
    state, path = torch.zeros(len(llrs), 1, dtype=torch.long), []
    for chosen in reversed(oldest):
        path.append(state >> (memory - 1))
        state = (state << 1 & (1 << memory) - 1) | chosen.gather(1, state)
    return torch.cat(path[::-1], 1)[:, :-memory]


@pytest.mark.parametrize("generators", [SHORT, ("133", "145", "175")])
def test_reference_finds_what_exhaustive_search_finds(generators):
    messages = binary_numbers(8)
    sent = torch.tensor([shift_register(message, generators) for message in messages.tolist()])
    soft = torch.rand((300, sent.shape[1]), generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    logs = sent.double() @ torch.log(soft).T + (1 - sent).double() @ torch.log1p(-soft).T  # [256, 300]
    found = viterbi(log_likelihood_ratios(soft).unflatten(1, (-1, len(generators))), generators)
    assert torch.equal(found, messages[logs.argmax(0)].long())


NOISE = [("hard", None), ("soft", -3.0)]  # bit errors of 10 %; white noise that makes 16 % of hard decisions wrong


@pytest.fixture(scope="module", params=NOISE, ids=lambda noise: noise[0])
def noisy(request):
    """Payload of 2000 messages of 200 bits, its posterior, and what was received as ratios `[B, T, 2]`."""
    kind, es_n0_db = request.param
    code, bits, draw = ConvolutionalCode(), random_bits(2000, 200, seed=7), torch.Generator().manual_seed(8)
    sent = code.encode(bits)
    if kind == "hard":
        received = sent ^ (torch.rand(sent.shape, generator=draw) < 0.1)
        ratios = 1.0 - 2.0 * received.double()
    else:
        received = benchmark.transmit(sent, es_n0_db, None, draw)
        ratios = log_likelihood_ratios(received)
    return bits, code.decode(received, 200, error_rate=0.1), ratios.unflatten(1, (-1, 2))


def test_posteriors_are_calibrated(noisy):
    """Of the bits with P(1) in a bin, that share are ones; deviations within a message may go together."""
    bits, ones, _ = noisy
    edges = torch.tensor([0, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5])
    edges = torch.cat([edges, 1 - edges[:-1].flip(0)])
    tested = 0
    for low, high in itertools.pairwise(edges.tolist()):
        inside = (ones > low) & (ones <= high)
        deviations = torch.where(inside, bits - ones.double(), 0).sum(1)
        if torch.where(inside, (ones * (1 - ones)).double(), 0).sum() > 20:
            assert deviations.sum().abs() < 4 * deviations.square().sum().sqrt()
            tested += 1
    assert tested >= 12


def test_fewer_bits_are_wrong_than_on_the_most_likely_path(noisy):
    bits, ones, ratios = noisy
    wrong = int(((ones > 0.5) != bits).sum())
    wrong_on_path = int((viterbi(ratios, ("133", "171")) != bits).sum())
    assert 0.01 * bits.numel() < wrong < wrong_on_path < 0.3 * bits.numel()


def test_posteriors_agree_with_sionna():
    with torch.random.fork_rng():  # its import seeds the global generator
        conv = pytest.importorskip("sionna.phy.fec.conv")
    settings = {"precision": "double", "device": "cpu"}
    encoder = conv.ConvEncoder(gen_poly=("1011011", "1111001"), terminate=True, **settings)
    decoder = conv.BCJRDecoder(encoder=encoder, algorithm="log", hard_out=False, **settings)
    code, bits = ConvolutionalCode(), random_bits(16, 300, seed=9)
    sent = code.encode(bits)
    assert torch.equal(encoder(bits.double()), sent.double())
    received = benchmark.transmit(sent, -3.0, None, torch.Generator().manual_seed(10))
    decoded = code.decode(received, 300)
    assert 0.01 < ((decoded > 0.5) != bits).float().mean() < 0.3
    ratios = -log_likelihood_ratios(received)  # its ratios are of a one
    assert (torch.sigmoid(decoder(ratios)) - decoded).abs().max() < 1e-6


def test_chunks_and_groups_of_messages_do_not_matter():
    code = ConvolutionalCode()
    received = benchmark.transmit(code.encode(random_bits(70, 997)), -1.0, None, torch.Generator().manual_seed(11))
    together = code.decode(received, 997)
    for row in (0, 31, 32, 69):
        assert torch.equal(code.decode(received[row : row + 1], 997), together[row : row + 1])


def test_long_messages_do_not_underflow():
    code, bits = ConvolutionalCode(), random_bits(1, 100_000, seed=12)
    received = code.encode(bits)
    received[:, ::19] ^= 1
    decoded = code.decode(received, 100_000)
    assert torch.equal(decoded > 0.5, bits.bool())
    assert torch.equal(decoded[:, 50_000:50_100], code.decode(received[:, 100_000 - 1900 :], 50_950)[:, 950:1050])


@pytest.mark.parametrize("loss", [0.4, 0.5, 0.6])
def test_bits_called_certain_are_right_and_others_unknown(loss):
    """Frames lost, interleaved: of a bit that the rest does not determine nothing is known, as the code is linear."""
    bits = random_bits(40, 50, 16, seed=13)
    channel = ProtectedChannel(FrameErasureChannel(loss), ConvolutionalCode(), interleave=16)
    received = channel(bits, torch.Generator().manual_seed(14))
    certain = (received == 0) | (received == 1)
    assert torch.equal(certain, received != 0.5)
    assert 0.1 < certain.float().mean() < 0.99
    assert torch.equal(received[certain], bits[certain].float())


def test_certain_bits_survive_among_soft_ones():
    """A part received with certainty keeps its certainty, next to one of strong noise that lasts long."""
    code, bits = ConvolutionalCode(), random_bits(8, 3000, seed=15)
    received = code.encode(bits).double()
    received[:, 2000:] = benchmark.transmit(received[:, 2000:], -6.0, None, torch.Generator().manual_seed(16))
    decoded = code.decode(received, 3000)
    assert torch.equal(decoded[:, :1000], bits[:, :1000].float())
    assert ((decoded[:, 1000:] > 0) & (decoded[:, 1000:] < 1)).all()


def test_overwhelming_evidence_is_not_certainty():
    """With 1 + D² times the payload known but for its ends, four payloads remain, of which each bit tells two apart.

    They differ in every channel bit of the other generator, so their probabilities do by far more than float64 can say.
    """
    code, bits = ConvolutionalCode(SHORT), random_bits(3, 400, seed=17)
    received = code.encode(bits).double()
    received[:, 1::2] = 0.01 + 0.98 * received[:, 1::2]
    received[:, [0, 2, -4, -2]] = 0.5
    decoded = code.decode(received, 400)
    assert torch.equal(decoded > 0.5, bits.bool())
    assert ((decoded > 0) & (decoded < 1)).all()


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


@pytest.mark.parametrize("generators", [("133", "171"), ("7", "5"), ("133", "145", "175")])
def test_a_systematic_code_has_the_same_codewords_and_shows_its_payload(generators):
    plain, systematic = ConvolutionalCode(generators), ConvolutionalCode(generators, systematic=True)
    messages = binary_numbers(7)
    sent = systematic.encode(messages)
    assert torch.equal(sent[:, :: len(generators)][:, :7], messages)
    found = {tuple(row) for row in sent.tolist()}
    assert found == {tuple(row) for row in plain.encode(messages).tolist()} and len(found) == 128


def test_a_systematic_code_delivers_what_arrives_where_the_code_fails():
    """With half of the frames lost, more payload bits are known than without a code, and than the plain code knows."""
    payload = random_bits(20, 300, 16)
    known = {}
    for code in (ConvolutionalCode(), ConvolutionalCode(systematic=True)):
        channel = ProtectedChannel(FrameErasureChannel(0.5), code, interleave=16)
        received = torch.stack([channel(clip, torch.Generator().manual_seed(i)) for i, clip in enumerate(payload)])
        decided = received != 0.5
        assert torch.equal(received[decided] > 0.5, payload[decided] > 0)
        known[code.systematic] = decided.double().mean().item()
    assert known[True] > 0.55 and known[True] > known[False] + 0.05


def test_a_systematic_code_needs_a_first_generator_of_full_length():
    with pytest.raises(ValueError, match="put the longest first"):
        ConvolutionalCode(("5", "13"), systematic=True)
