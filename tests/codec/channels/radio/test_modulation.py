"""Modulations: labels and energy, error rates against simulation and quadrature, ratios against brute force, sionna."""

import math

import pytest
import torch
from scipy.integrate import quad
from scipy.stats import binomtest, chi2, norm

from codec.channels import BPSK, QAM16, QPSK
from codec.channels.radio.closed_forms import mean_tail


def random_bits(*shape, seed=0):
    return torch.randint(2, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def normal(*shape, seed=1):
    """Complex Gaussian numbers of power 1."""
    return torch.randn(*shape, dtype=torch.complex128, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("modulation", "bits", "symbol"), [
    (BPSK(), [1], (-1 - 1j) / math.sqrt(2)),
    (QPSK(), [0, 1], (1 - 1j) / math.sqrt(2)),
    (QAM16(), [0, 0, 0, 0], (1 + 1j) / math.sqrt(10)),
    (QAM16(), [1, 0, 1, 0], (-3 + 1j) / math.sqrt(10)),
    (QAM16(), [0, 1, 0, 1], (1 - 3j) / math.sqrt(10)),
    (QAM16(), [1, 1, 1, 1], (-3 - 3j) / math.sqrt(10)),
])  # fmt: skip
def test_symbols_are_those_of_the_standard(modulation, bits, symbol):
    found = modulation.modulate(torch.tensor(bits, dtype=torch.uint8))
    assert found.item() == pytest.approx(symbol, abs=1e-12)


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16()])
def test_symbols_have_unit_energy_and_neighbours_differ_in_one_bit(modulation):
    points, m = modulation.points, modulation.bits_per_symbol
    assert points.abs().square().mean().item() == pytest.approx(1.0, abs=1e-12)
    assert points.mean().abs() < 1e-12
    distances = (points[:, None] - points).abs()
    nearest = distances[distances > 0].min()
    labels = torch.arange(2**m)
    for i, j in ((distances - nearest).abs() < 1e-9).nonzero().tolist():
        assert bin(int(labels[i] ^ labels[j])).count("1") == 1


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16(), QAM16(exact=True)])
def test_what_is_modulated_is_demapped(modulation):
    bits = random_bits(3, 40)
    gain = normal(3, 40 // modulation.bits_per_symbol)
    received = gain * modulation.modulate(bits)
    assert torch.equal(modulation.decide(received, gain), bits)
    ratios = modulation.demap(received, gain, 1e-3)
    assert ratios.shape == bits.shape and ratios.dtype == torch.float64
    assert torch.equal((ratios < 0).to(torch.uint8), bits)


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16()])
@pytest.mark.parametrize("ec_n0_db", [-3.0, 2.0, 6.0])
def test_each_bit_of_a_symbol_errs_as_its_closed_form_in_white_noise(modulation, ec_n0_db):
    count, m, ec_n0 = 100_000, modulation.bits_per_symbol, 10 ** (ec_n0_db / 10)
    bits = random_bits(count * m)
    received = modulation.modulate(bits) + normal(count) / math.sqrt(m * ec_n0)
    wrong = (modulation.decide(received, torch.ones_like(received)) != bits).view(count, m).sum(0).tolist()
    for errors, terms in zip(wrong, modulation.error_terms(), strict=True):
        expected = sum(c * norm.sf(math.sqrt(2 * a * ec_n0)) for c, a in terms)
        assert binomtest(errors, count, expected).pvalue > 1e-4


def test_error_rates_of_all_modulations_start_at_a_half_and_end_at_zero():
    for modulation in (BPSK(), QPSK(), QAM16()):
        for k_factor in (0.0, 3.0, math.inf):
            assert modulation.error_rate(0.0, k_factor) == pytest.approx(0.5, abs=1e-12)
            assert modulation.error_rate(math.inf, k_factor) == 0.0
    assert QPSK().error_rate(4.0) == BPSK().error_rate(4.0) == pytest.approx(norm.sf(math.sqrt(8.0)), rel=1e-12)


@pytest.mark.parametrize("k_factor", [0.5, 4.0, 100.0])
@pytest.mark.parametrize("snr", [0.01, 1.0, 30.0])
def test_rician_error_rates_equal_the_mean_over_the_law_of_the_power(k_factor, snr):
    """Craig's form against the direct integral of Q(√(2γx)) over the density of x = |h|², a Poisson mixture."""
    mixture = range(int(k_factor + 12 * math.sqrt(k_factor) + 30))

    def density(x):  # |h|² (K + 1) is Gamma(i + 1) with i Poisson of mean K
        y = (k_factor + 1) * x
        logs = [i * math.log(k_factor) - k_factor - math.lgamma(i + 1) + i * math.log(y) - y - math.lgamma(i + 1)
                for i in mixture]  # fmt: skip
        return (k_factor + 1) * sum(map(math.exp, logs))

    width = 12 / math.sqrt(k_factor + 1)
    low, high = max(0.0, 1 - width), 1 + max(width, 40 / (k_factor + 1))
    expected = quad(lambda x: norm.sf(math.sqrt(2 * snr * x)) * density(x) if x else 0.0, low, high, limit=200)[0]
    assert mean_tail(snr, k_factor) == pytest.approx(expected, rel=1e-6, abs=1e-13)


def test_rician_error_rates_meet_rayleigh_and_white_noise_at_their_ends():
    for snr in (0.1, 1.0, 10.0):
        assert mean_tail(snr, 0.0) == pytest.approx((1 - math.sqrt(snr / (1 + snr))) / 2, rel=1e-12)
        assert mean_tail(snr, 1e-9) == pytest.approx(mean_tail(snr, 0.0), rel=1e-7)
        assert mean_tail(snr, 1e9) == pytest.approx(mean_tail(snr, math.inf), rel=1e-6)


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16(), QAM16(exact=True)])
def test_ratios_equal_sums_over_all_points(modulation):
    """Brute force from the definition, with fading and with a weak and a strong signal."""
    m = modulation.bits_per_symbol
    gain, received = normal(50, seed=3), 2 * normal(50, seed=4)
    for variance in (0.1, 3.0):
        found = modulation.demap(received, gain, variance).view(50, m)
        for r, h, ratios in zip(received.tolist(), gain.tolist(), found.tolist(), strict=True):
            for i, ratio in enumerate(ratios):
                sides = []
                for bit in (0, 1):
                    exponents = [
                        -(abs(r - h * s) ** 2) / variance
                        for label, s in enumerate(modulation.points.tolist())
                        if label >> (m - 1 - i) & 1 == bit
                    ]
                    top = max(exponents)
                    rest = math.log(sum(math.exp(e - top) for e in exponents)) if modulation.exact else 0.0
                    sides.append(top + rest)
                assert ratio == pytest.approx(sides[0] - sides[1], rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("modulation", [QPSK, QAM16])
def test_symbols_and_ratios_agree_with_sionna(modulation, exact):
    with torch.random.fork_rng():  # its import seeds the global generator
        mapping = pytest.importorskip("sionna.phy.mapping")
    ours = modulation(exact=exact)
    settings = {"precision": "double", "device": "cpu"}
    bits, gain = random_bits(400 * ours.bits_per_symbol, seed=5), normal(400, seed=6)
    symbols = mapping.Mapper("qam", ours.bits_per_symbol, **settings)(bits.double()[None])[0]
    assert torch.allclose(symbols, ours.modulate(bits), atol=1e-12)
    received = gain * symbols + 0.4 * normal(400, seed=7)
    demapper = mapping.Demapper("app" if exact else "maxlog", "qam", ours.bits_per_symbol, **settings)
    expected = -demapper((received / gain)[None], 0.16 / gain.abs().square()[None])[0]  # its ratios are of a one
    assert torch.allclose(ours.demap(received, gain, 0.16), expected, rtol=1e-9, atol=1e-9)


def test_exact_ratios_are_calibrated_and_max_log_ones_nearly():
    """Of bits with P(1) in a bin that share are ones; max-log says a little too much."""
    modulation, bits = QAM16(exact=True), random_bits(200_000, seed=8)
    gain = normal(50_000, seed=9)
    received = gain * modulation.modulate(bits) + normal(50_000, seed=10) * math.sqrt(0.5)
    deviation = {}
    for exact in (True, False):
        ones = torch.sigmoid(-QAM16(exact=exact).demap(received, gain, 0.5))
        statistic, bins = 0.0, 0
        for low in torch.arange(0.0, 1.0, 0.05).tolist():
            inside = (ones >= low) & (ones < low + 0.05)
            spread = (ones * (1 - ones))[inside].sum()
            statistic += ((bits - ones)[inside].sum() ** 2 / spread).item()
            bins += 1
        deviation[exact] = chi2.sf(statistic, bins)
    assert deviation[True] > 1e-4 > deviation[False]
