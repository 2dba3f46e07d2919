"""LDPC, polar and Reed–Solomon codes on short blocks: certainty, calibration, delay, and global state as it was."""

import itertools
import math
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from scipy.stats import binomtest

from codec.channels import FrameErasureChannel, PacketLossChannel
from codec.channels.coding import LDPC5G, Polar5G, ProtectedChannel, ReedSolomon
from codec.channels.coding.base import log_likelihood_ratios
from codec.channels.coding.certainty import certain_ratios
from codec.channels.coding.protection import block_delay, symbol_places
from codec.errors import InvalidValue
from tests.benchmarks import block_codes as benchmark
from tests.benchmarks.fec import hard_error_rate, transmit
from tests.codec.channels.coding.test_fec import binary_numbers, check_what_arrives_unharmed, random_bits
from tests.support.paths import ROOT

pytest.importorskip("reedsolo")
try:
    from codec.channels.coding.sionna_parts import sionna_module

    sionna_module("ldpc")
except Exception:
    pytest.skip("needs sionna", allow_module_level=True)

CODES = [LDPC5G(64), LDPC5G(20, rate=0.33), Polar5G(32), Polar5G(64, rate=0.6), ReedSolomon(12, 8), ReedSolomon(20, 9)]
by_name = pytest.mark.parametrize("code", CODES, ids=lambda code: code.name)


def draws(seed):
    return torch.Generator().manual_seed(seed)


@by_name
@pytest.mark.parametrize("length", [1, 20, 64, 65, 300])
def test_what_arrives_unharmed_comes_back(code, length):
    check_what_arrives_unharmed(code, length, lambda sent: 0.05 + 0.9 * sent)
    unknown = code.decode(torch.full((2, code.coded_length(length)), 0.5), length)
    assert unknown.dtype == torch.float32
    assert (unknown == 0.5).all()


@by_name
def test_rows_are_messages_of_their_own(code):
    received = torch.rand(5, code.coded_length(150), generator=draws(1))
    together = code.decode(received, 150)
    assert torch.equal(together, torch.cat([code.decode(row[None], 150) for row in received]))


@by_name
def test_rate_is_that_of_a_long_message(code):
    assert 10**8 / code.coded_length(10**8) == pytest.approx(code.rate, rel=0.01 if code.name.startswith("l") else 1e-6)


@by_name
def test_decoding_leaves_the_state_of_the_process_alone(code):
    states = torch.random.get_rng_state(), random.getstate(), np.random.get_state()
    sent = code.encode(random_bits(2, 100))
    code.decode(0.2 + 0.6 * sent.double(), 100)
    code.decode(sent.float().masked_fill(torch.rand(sent.shape, generator=draws(0)) < 0.2, 0.5), 100)
    assert torch.equal(torch.random.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert all(np.array_equal(a, b) for a, b in zip(np.random.get_state(), states[2], strict=True))


@pytest.mark.slow
def test_importing_sionna_leaves_the_state_of_the_process_alone():
    program = """
import random, sys, warnings, numpy, torch
def state():
    return (torch.random.get_rng_state().tolist(), random.getstate(), numpy.random.get_state()[1].tolist(),
            torch.get_default_dtype(), torch.get_num_threads(), torch.is_grad_enabled(), list(warnings.filters))
import codec
from codec import LDPC5G, Polar5G
assert "sionna" not in sys.modules and "h5py" not in sys.modules
codes = LDPC5G(64), Polar5G(64)
before = state()
for code in codes:
    code.decode(code.encode(torch.ones(1, 64, dtype=torch.uint8)), 64)
assert "sionna.phy" in sys.modules
assert state() == before
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_certain_bits_say_what_enumeration_says():
    generator = random_bits(6, 11, seed=3)
    payloads = binary_numbers(6)
    words = payloads.long() @ generator.long() % 2
    received = words[torch.randint(64, (300,), generator=draws(4))]
    received[200:] ^= torch.rand(100, 11, generator=draws(5)) < 0.05
    known = torch.rand(300, 11, generator=draws(6)) < torch.linspace(0, 1, 300)[:, None]
    llrs = torch.where(known, torch.where(received > 0, -math.inf, math.inf), 0.3).double()
    found = certain_ratios(generator, llrs)
    for row, word, mask in zip(found, received, known, strict=True):
        left = payloads[(words[:, mask] == word[mask]).all(1)]
        if not len(left):
            assert row.isnan().all()
            continue
        agreed = (left == left[0]).all(0)
        assert torch.equal(row.isinf(), agreed)
        assert torch.equal((row < 0)[agreed], left[0][agreed].bool())
        assert (row[~agreed] == 0).all()


@pytest.mark.parametrize("code", CODES[:4], ids=lambda code: code.name)
def test_erasures_are_decoded_as_far_as_they_can_be(code):
    bits = random_bits(30, code.block_bits, seed=1)
    sent = code.encode(bits)
    lost = torch.rand(sent.shape, generator=draws(2)) < torch.linspace(0.2, 0.8, 30)[:, None]
    decoded = code.decode(sent.float().masked_fill(lost, 0.5), code.block_bits)
    known = decoded != 0.5
    assert torch.equal(decoded[known], bits[known].float())
    capacity = 1 - lost.double().mean(1)
    assert known[capacity > code.rate + 0.15].all()
    assert not known.all(1)[capacity < code.rate - 0.02].any()


@by_name
def test_certain_bits_that_contradict_each_other_are_hard_decisions(code):
    bits = random_bits(4, 90, seed=3)
    received = code.encode(bits)
    received[:2, 5:60:9] ^= 1
    decoded = code.decode(received.float(), 90)
    assert ((decoded[:2] > 0) & (decoded[:2] < 1)).all()
    assert torch.equal(decoded[:2], code.decode(received[:2], 90))
    assert torch.equal(decoded[2:], bits[2:].float())


@pytest.mark.slow
@pytest.mark.parametrize(("code", "es_n0_db", "between"), [
    (LDPC5G(64), -1.0, (0.4, 1.1)), (LDPC5G(64), 0.0, (0.3, 1.1)),
    (Polar5G(64), -1.0, (0.7, 1.4)), (Polar5G(64), -3.0, (0.7, 1.4)),
    (ReedSolomon(12, 8), 4.0, (0.7, 1.4)),
], ids=lambda value: getattr(value, "name", str(value)))  # fmt: skip
def test_posteriors_are_about_as_sure_as_they_may_be(code, es_n0_db, between):
    """Errors that the posteriors expect, per error made; belief propagation is too sure, which its docstring says."""
    bits = random_bits(1500, code.block_bits, seed=1)
    received = transmit(code.encode(bits), es_n0_db, 2 if code.symbol_bits > 1 else None, draws(2))
    ones = code.decode(received, code.block_bits, error_rate=hard_error_rate(es_n0_db))
    made = int(((ones > 0.5) != bits).sum())
    expected = torch.minimum(ones, 1 - ones).double().sum().item()
    assert made > 100
    assert between[0] < expected / made < between[1]


def test_a_list_without_a_checked_path_is_doubtful():
    code = Polar5G(64)
    ones = code.decode(transmit(code.encode(random_bits(100, 64)), -6.0, None, draws(0)), 64)
    failed = ((ones > 0.33) & (ones < 0.67)).all(1)
    assert failed.float().mean() > 0.8
    other = torch.minimum(ones, 1 - ones)[~failed]
    assert (other >= 2**-12.1).all()


def test_polar_list_holds_probabilities():
    """With a list of all payloads of a small code, the metrics are log-likelihoods: exact posteriors without a CRC."""
    from codec.channels.coding.sionna_parts import polar_parts

    parts = polar_parts(20, 40, 8)
    bits = random_bits(50, 20)
    llrs = log_likelihood_ratios(transmit(parts.encode(bits), 0.0, None, draws(3)))
    found = parts.decode(llrs)
    logs = [-torch.where(parts.encode(found.payloads[:, path]) > 0, llrs, 0.0).sum(1) for path in range(8)]
    likelihoods = torch.stack(logs, 1)  # up to a summand of the row
    offsets = (likelihoods + found.metrics[:, :8]).where(found.checks[:, :8], torch.nan)
    several = found.checks[:, :8].sum(1) > 1
    spread = offsets.nan_to_num(nan=-math.inf).amax(1) - offsets.nan_to_num(nan=math.inf).amin(1)
    assert (spread[several] < 1e-6).all()
    assert found.checks[:, 0].float().mean() > 0.5


@pytest.mark.parametrize(("n", "k"), [(12, 8), (9, 4), (255, 239)])
def test_reed_solomon_corrects_to_its_bound_and_not_beyond(n, k):
    """2 errors + erasures ≤ n − k, in bytes; beyond it, the payload is as it arrived but for a rare wrong codeword."""
    code, parity = ReedSolomon(n, k), n - k
    bits = random_bits(1, 8 * k)
    sent = code.encode(bits)
    assert torch.equal(sent[:, : 8 * k], bits)
    for erasures in range(0, parity + 1, max(1, parity // 4)):
        for errors in ((parity - erasures) // 2, (parity - erasures) // 2 + 1):
            places = torch.randperm(n, generator=draws(erasures))[: erasures + errors]
            received = 0.001 + 0.998 * sent.view(n, 8).double()
            received[places[erasures:], 3] = 1 - received[places[erasures:], 3]
            received[places[:erasures], 5] = 0.5
            decoded = code.decode(received.view(1, -1), 8 * k)
            if 2 * errors + erasures <= parity:
                assert torch.equal(decoded > 0.5, bits.bool())
            elif (places[erasures:] < k).any():
                assert not torch.equal(decoded > 0.5, bits.bool())


def test_reed_solomon_recovers_any_lost_rows_to_its_bound():
    """Twelve frames of 16 bits are three blocks of 8 bytes: a byte of each in every row."""
    code, bits = ReedSolomon(12, 8), random_bits(12, 16)
    for lost in list(itertools.combinations(range(12), 4))[::7]:
        channel = ProtectedChannel(_Rows(lost), code, interleave=12)
        assert torch.equal(channel(bits, draws(0)), bits.float())
    one_more = ProtectedChannel(_Rows((0, 3, 4, 7, 11)), code, interleave=12)(bits, draws(0))
    known = one_more != 0.5
    assert 0.3 < known.float().mean() < 0.8  # what is payload and arrived
    assert torch.equal(one_more[known], bits[known].float())


class _Rows(FrameErasureChannel):
    """Loses the rows named."""

    def __init__(self, rows):
        super().__init__(0.0)
        self.rows = rows

    def __call__(self, bits, generator):
        received = bits.float()
        received[..., list(self.rows), :] = 0.5
        return received


def test_reed_solomon_over_lost_packets_errs_as_its_closed_form():
    """Blocks with more than n − k of n bytes lost; rows are lost one by one."""
    code, frames, loss = ReedSolomon(12, 8), 12 * 800, 0.25
    bits = random_bits(frames, 16)
    channel = ProtectedChannel(PacketLossChannel(loss, 1), code, interleave=12)
    received = channel(bits, draws(7))
    failed = int((received == 0.5).view(800, -1).any(1).sum())
    law = sum(math.comb(12, lost) * loss**lost * (1 - loss) ** (12 - lost) for lost in range(5, 13))
    # a group with five rows lost or more fails unless all of them carry parity alone, which no row does
    assert binomtest(failed, 800, law).pvalue > 1e-4


@pytest.mark.parametrize(("coded", "frames", "interleave"), [(480, 10, 1), (488, 10, 4), (96, 12, 12), (8, 3, 2)])
def test_symbols_stay_whole_in_their_rows(coded, frames, interleave):
    places = symbol_places(coded, frames, interleave=interleave, symbol_bits=8)
    assert len(places.unique()) == coded
    width = 8 * -(-coded // (8 * frames))
    assert places.max() < frames * width
    symbols = places.view(-1, 8)
    assert (symbols.diff(dim=1) == 1).all()
    assert (symbols // width == symbols[:, :1] // width).all()
    assert (symbols[:, 0] % 8 == 0).all()


@by_name
@pytest.mark.parametrize(("interleave", "frame_bits"), [(1, 16), (1, 10), (6, 10), (16, 16)])
def test_delay_is_the_longest_wait_of_a_frame(code, interleave, frame_bits):
    """Followed bit by bit: when a row can leave, and when a block is whole."""
    frames = 3 * math.lcm(interleave, code.block_bits)
    needed, last = code.order(frames * frame_bits)
    coded = code.coded_length(frames * frame_bits)
    assert (len(needed), len(last)) == (coded, frames * frame_bits)
    symbol = code.symbol_bits
    places = symbol_places(coded, frames, interleave=interleave, symbol_bits=symbol).tolist()
    width = symbol * -(-coded // (symbol * frames))
    ready = [0] * frames
    for bit, place in enumerate(places):
        ready[place // width] = max(ready[place // width], int(needed[bit]) // frame_bits)
    start = max(time - row for row, time in enumerate(ready))
    worst = arrived = bit = 0
    for payload in range(frames * frame_bits):
        while bit <= int(last[payload]):
            arrived = max(arrived, places[bit] // width + start)
            bit += 1
        worst = max(worst, arrived - payload // frame_bits)
    assert worst == block_delay(code, frame_bits, interleave=interleave)


def test_delay_of_whole_frames_is_twice_the_wait():
    channel = FrameErasureChannel(0.1)
    for frames in (1, 2, 4):
        protected = ProtectedChannel(channel, LDPC5G(16 * frames), frame_bits=16)
        assert protected.delay_frames == 2 * (frames - 1)
    assert ProtectedChannel(channel, Polar5G(64), interleave=16, frame_bits=16).delay_frames == 30
    with pytest.raises(InvalidValue, match="frame_bits"):
        _ = ProtectedChannel(channel, LDPC5G(64)).delay_frames


@pytest.mark.parametrize(("build", "match"), [
    (lambda: LDPC5G(11), "block_bits 11"), (lambda: LDPC5G(64, rate=0.1), "rate 0.1"),
    (lambda: LDPC5G(64, iterations=0), "iterations 0"), (lambda: Polar5G(19), "block_bits 19"),
    (lambda: Polar5G(64, rate=0.9), "rate 0.9"), (lambda: Polar5G(600, rate=0.5), "rate 0.5"),
    (lambda: Polar5G(64, list_size=6), "list_size 6"), (lambda: ReedSolomon(8, 8), "n 8 and k 8"),
    (lambda: ReedSolomon(256, 8), "n 256"),
])  # fmt: skip
def test_impossible_codes_are_refused(build, match):
    with pytest.raises(InvalidValue, match=match):
        build()


@pytest.mark.parametrize(("eb_n0_db", "published"), [(5.4, 2.16e-1), (5.8, 2.27e-2), (6.2, 7.78e-4)])
def test_reed_solomon_has_its_published_curve(eb_n0_db, published):
    """RS(255,223) of AFF3CT's references by the closed form, which the next test shows ours to have; within 0.1 dB."""
    rate_db = 10 * math.log10(223 / 255)
    found = benchmark.reed_solomon_block_error_rate(255, 223, hard_error_rate(eb_n0_db + rate_db))
    assert abs(benchmark.gap_db(benchmark.AFF3CT_RS, eb_n0_db, found)) < 0.1
    assert benchmark.AFF3CT_RS[eb_n0_db] == published


@pytest.mark.parametrize(("n", "k", "p"), [(15, 11, 0.02), (12, 8, 0.04), (30, 20, 0.03)])
def test_reed_solomon_errs_as_its_closed_form(n, k, p):
    code, blocks = ReedSolomon(n, k), 1500
    bits = random_bits(blocks, 8 * k)
    sent = code.encode(bits)
    flips = torch.rand(sent.shape, generator=draws(n), dtype=torch.float64) < p
    beyond = int((flips.view(blocks, n, 8).any(2).sum(1) > (n - k) // 2).sum())
    decoded = code.decode(sent ^ flips, 8 * k, error_rate=p)
    whole = flips[:, : 8 * k].any(1)
    wrong = ((decoded > 0.5) != bits).any(1)
    assert not wrong[flips.view(blocks, n, 8).any(2).sum(1) <= (n - k) // 2].any()
    assert binomtest(beyond, blocks, benchmark.reed_solomon_block_error_rate(n, k, p)).pvalue > 1e-4
    assert beyond - int((wrong & whole).sum()) <= 0.02 * blocks  # parity alone was wrong


@pytest.mark.slow
@pytest.mark.parametrize(("name", "eb_n0_db", "blocks"), [
    ("LDPC (128,64), sionna", 2.0, 700), ("LDPC (128,64), sionna", 2.5, 1500), ("LDPC (128,64), sionna", 3.0, 4000),
    ("LDPC (40,20), AFF3CT", 2.0, 400), ("LDPC (40,20), AFF3CT", 3.0, 1000), ("LDPC (40,20), AFF3CT", 4.0, 4000),
    ("polar (128,64), sionna", 1.5, 400), ("polar (128,64), sionna", 2.0, 1000), ("polar (128,64), sionna", 2.5, 3000),
])  # fmt: skip
def test_block_error_rates_are_the_published_ones(name, eb_n0_db, blocks):
    """Within 0.3 dB either way at three points of each code, and no better than the best code could do."""
    code, payload, published, hard = benchmark.CURVES[name]
    wrong = benchmark.block_errors(code, payload, eb_n0_db, blocks=blocks, hard=hard)
    assert wrong >= 50
    assert abs(benchmark.gap_db(published, eb_n0_db, wrong / blocks)) < 0.3
    assert wrong / blocks > benchmark.normal_approximation(payload, code.coded_length(payload), eb_n0_db)


def test_a_bit_received_with_certainty_stays_beside_a_codeword_that_denies_it():
    """Its byte is not certain as a whole, so the decoder finds a codeword in spite of it: then that is none."""
    pytest.importorskip("reedsolo")
    code = ReedSolomon(12, 8)
    received = torch.full((1, 96), 0.02)
    received[0, 3] = 1.0
    decoded = code.decode(received, 64)
    assert decoded[0, 3] == 1.0
    assert bool(((decoded[0, torch.arange(64) != 3] > 0) & (decoded[0, torch.arange(64) != 3] < 0.5)).all())
