"""OFDM: correlation over subcarriers and time, error rates of flat fading, interleaving, profiles."""

import itertools
import math

import pytest
import torch
from scipy.special import j0

from codec.channels import (
    BPSK,
    QAM16,
    QPSK,
    DelayProfile,
    ExponentialProfile,
    FadingChannel,
    OFDMChannel,
    draw_generator,
)

EXTENDED_TYPICAL_URBAN = DelayProfile(
    [0, 50, 120, 200, 230, 500, 1600, 2300, 5000], [-1, -1, -1, 0, 0, 0, -3, -5, -7]
)  # 3GPP TS 36.104, table B.2-4


def grid(profile, doppler_hz):
    return OFDMChannel(0.0, profile=profile, subcarriers=16, subcarrier_spacing_hz=30e3, doppler_hz=doppler_hz)


def in_order(channel, drawn):
    """Gains `[..., 16]` by subcarrier instead of by symbol."""
    gains = torch.empty_like(drawn)
    gains[..., channel.places(16)] = drawn
    return gains


@pytest.mark.parametrize("profile", [ExponentialProfile(500.0), EXTENDED_TYPICAL_URBAN, DelayProfile([0.0], [0.0])])
def test_gains_correlate_over_subcarriers_as_the_transform_of_the_profile(profile):
    channel = grid(profile, doppler_hz=math.inf)
    count, spaced = 8000, profile.correlation(torch.arange(16) * 30e3)
    gains = in_order(channel, channel.gains(count, 16, torch.Generator().manual_seed(0)))
    powers = gains.abs().square()
    assert (((powers.mean(0) - 1) / powers.std(0)).abs() < 4.5 / math.sqrt(count)).all()
    products = gains * gains[:, :1].conj()
    for found, wanted in ((products.real, spaced.real), (products.imag, spaced.imag)):
        spread = found.std(0) / math.sqrt(count) + 1e-12
        assert ((found.mean(0) - wanted) / spread).abs().max() < 4.5


def test_gains_correlate_over_time_and_subcarriers_as_the_product_of_both():
    """E H(k, t) H*(k', t') is J₀ of the time times the transform of the profile."""
    channel, generator, count = grid(EXTENDED_TYPICAL_URBAN, doppler_hz=15.0), torch.Generator().manual_seed(1), 500
    gains = torch.stack([in_order(channel, channel.gains(2, 16, generator)) for _ in range(count)])  # [clips, 2, 16]
    for apart in (0, 2):
        products = (gains[:, 1, apart:] * gains[:, 0, : 16 - apart].conj()).mean(1)
        spaced = EXTENDED_TYPICAL_URBAN.correlation(torch.tensor(apart * 30e3)) * j0(2 * math.pi * 15.0 * 0.02)
        for found, wanted in ((products.real, spaced.real), (products.imag, spaced.imag)):
            assert abs(found.mean() - wanted) < 4.5 * found.std() / math.sqrt(count)


def test_the_transform_of_the_profile_is_that_of_its_taps():
    """On a grid of N samples it is the discrete Fourier transform."""
    powers = torch.rand(8, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) + 0.1
    grid_hz = 15e3
    profile = DelayProfile((1e9 * torch.arange(8) / (8 * grid_hz)).tolist(), (10 * powers.log10()).tolist())
    expected = torch.fft.fft(powers / powers.sum())
    assert torch.allclose(profile.correlation(torch.arange(8) * grid_hz), expected, atol=1e-12)


def test_profiles_have_the_delay_spreads_of_the_standard():
    """Those of the three LTE models, 45 ns, 357 ns and 991 ns in TS 36.101, table B.2.1-1, up to its rounding."""
    assert pytest.approx(991, abs=0.5) == EXTENDED_TYPICAL_URBAN.rms_delay_ns
    vehicular = DelayProfile(
        [0, 30, 150, 310, 370, 710, 1090, 1730, 2510], [0, -1.5, -1.4, -3.6, -0.6, -9.1, -7, -12, -16.9]
    )
    assert pytest.approx(357, abs=0.5) == vehicular.rms_delay_ns
    assert ExponentialProfile(730.0).rms_delay_ns == pytest.approx(730.0)
    ratios = ExponentialProfile().powers[1:] / ExponentialProfile().powers[:-1]
    assert torch.allclose(ratios, torch.full_like(ratios, math.exp(-0.5)))


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16()])
@pytest.mark.parametrize("ec_n0_db", [2.0, 9.0])
def test_bits_err_as_often_as_in_flat_rayleigh_fading(modulation, ec_n0_db):
    channel = OFDMChannel(ec_n0_db, modulation=modulation, doppler_hz=math.inf, soft=False)
    assert channel.error_rate == FadingChannel(ec_n0_db, modulation=modulation).error_rate
    bits = torch.randint(2, (12_000, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    wrong = (channel(bits, draw_generator(0, "clip", channel.family, 0)) != bits).double().mean(1)
    assert abs(wrong.mean().item() - channel.error_rate) < 4.5 * wrong.std().item() / math.sqrt(len(wrong))


@pytest.mark.parametrize("modulation", [BPSK(), QPSK(), QAM16()])
@pytest.mark.parametrize("symbols", [1, 4, 5, 8, 64, 150])
def test_every_bit_has_a_place_of_its_own(modulation, symbols):
    channel = OFDMChannel(0.0, modulation=modulation)
    m = modulation.bits_per_symbol
    order = channel.bit_order(symbols)
    assert sorted(order.tolist()) == list(range(symbols * m))
    for kind in range(m):  # places of one reliability are spread over the frame's bits
        positions = (order % m == kind).nonzero()[:, 0]
        assert symbols < 2 * m or positions.diff().max() <= 2 * m


@pytest.mark.parametrize("subcarriers", [12, 48, 64, 100, 1200])
def test_neighbouring_symbols_are_far_apart_and_any_few_spread(subcarriers):
    places = OFDMChannel(0.0, subcarriers=subcarriers, profile=ExponentialProfile(10.0)).places(subcarriers)
    assert sorted(places.tolist()) == list(range(subcarriers))
    assert places.diff().abs().min() >= 0.3 * subcarriers
    for start, count in itertools.product((0, 3), (5, 8)):
        chosen = places[start : start + count].sort().values
        assert chosen.diff().min() >= 0.3 * subcarriers / count


def test_a_notch_misses_the_neighbouring_bit():
    """Powers at neighbouring bits hardly correlate, while those on neighbouring subcarriers do."""
    channel = OFDMChannel(0.0, doppler_hz=math.inf)
    gains = channel.gains(4000, 64, torch.Generator().manual_seed(3))
    powers = gains.abs().square()
    near = torch.empty_like(powers)
    near[:, channel.places(64)] = powers
    assert torch.corrcoef(near[:, :2].T)[0, 1] > 0.95
    assert torch.corrcoef(powers[:, :2].T)[0, 1].abs() < 0.2


def test_long_frames_take_several_symbols_in_time():
    channel = OFDMChannel(0.0, subcarriers=8, doppler_hz=40.0)
    gains = channel.gains(800, 20, torch.Generator().manual_seed(4))
    assert gains.shape == (800, 20)
    expected = j0(2 * math.pi * 40.0 * 0.02 / 3)
    for later in (0, 3):  # the same subcarrier, a symbol later
        products = (gains[:, later + 8] * gains[:, later].conj()).real
        assert products.mean().item() == pytest.approx(expected, abs=0.1)
    single = OFDMChannel(0.0, subcarriers=1, doppler_hz=0.0).gains(2, 3, torch.Generator())
    assert (single == single[0, 0]).all()


@pytest.mark.parametrize(("make", "match"), [
    (lambda: DelayProfile([], []), "at least one"),
    (lambda: DelayProfile([0.0], [0.0, 1.0]), "one delay for each"),
    (lambda: DelayProfile([-1.0], [0.0]), "0 or more"),
    (lambda: DelayProfile([math.nan], [0.0]), "finite"),
    (lambda: DelayProfile([0.0], [math.inf]), "powers_db"),
    (lambda: ExponentialProfile(0.0), "rms_delay_ns 0"),
    (lambda: OFDMChannel(0.0, subcarriers=0), "subcarriers 0"),
    (lambda: OFDMChannel(0.0, subcarrier_spacing_hz=0.0), "subcarrier_spacing_hz 0"),
    (lambda: OFDMChannel(0.0, subcarrier_spacing_hz=5e6), "last path"),
])  # fmt: skip
def test_impossible_settings_are_refused(make, match):
    with pytest.raises(ValueError, match=match):
        make()
