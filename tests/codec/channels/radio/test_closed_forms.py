"""Fade margins, crossings and durations: against quadrature and against each other."""

import math

import pytest
from scipy.integrate import quad
from scipy.special import i0e

from codec.channels import average_fade_duration, fade_margin_db, level_crossing_rate, outage
from codec.channels.radio.closed_forms import linear_k_factor


def rice_density(r, k):
    """Density of the envelope r = |h|, E|h|² = 1."""
    argument = 2 * r * math.sqrt(k * (k + 1))
    exponent = -((math.sqrt(k) - r * math.sqrt(k + 1)) ** 2)
    return 2 * (k + 1) * r * math.exp(exponent) * i0e(argument)


@pytest.mark.parametrize("k_factor_db", [None, -10.0, 0.0, 6.0, 15.0])
@pytest.mark.parametrize("margin_db", [-3.0, 0.0, 10.0])
def test_outage_is_the_integral_of_the_density(k_factor_db, margin_db):
    expected = quad(rice_density, 0.0, 10 ** (-margin_db / 20), args=(linear_k_factor(k_factor_db),), epsabs=1e-15)[0]
    assert outage(margin_db, k_factor_db) == pytest.approx(expected, rel=1e-7)


def test_outage_of_rayleigh_fading_falls_a_decade_in_10_decibels():
    assert outage(20.0) == pytest.approx(1 - math.exp(-0.01), rel=1e-12)
    assert outage(30.0) / outage(40.0) == pytest.approx(10.0, rel=1e-3)
    assert outage(0.0, 0.0) < outage(0.0)
    assert (outage(1.0, math.inf), outage(-1.0, math.inf)) == (0.0, 1.0)


@pytest.mark.parametrize("k_factor_db", [None, 0.0, 10.0])
@pytest.mark.parametrize("probability", [0.001, 0.1, 0.7])
def test_margins_invert_outages(k_factor_db, probability):
    assert outage(fade_margin_db(probability, k_factor_db), k_factor_db) == pytest.approx(probability, rel=1e-6)


@pytest.mark.parametrize("k_factor_db", [None, 3.0])
def test_crossings_are_the_density_times_the_mean_rise(k_factor_db):
    """Rice's formula: N = p(r) σ / √(2π), as the derivative of |h| is Gaussian and independent of r.

    A quadrature of the scattered part has power 1 / (2 (K + 1)), its Doppler shifts (2π f_d cos α) a mean square of
    half that of the largest.
    """
    k, doppler = linear_k_factor(k_factor_db), 7.0
    spread = 2 * math.pi * doppler * math.sqrt(0.5 * 0.5 / (k + 1))
    for margin_db in (-3.0, 0.0, 15.0):
        level = 10 ** (-margin_db / 20)
        expected = rice_density(level, k) * spread / math.sqrt(2 * math.pi)
        assert level_crossing_rate(margin_db, doppler, k_factor_db) == pytest.approx(expected, rel=1e-9)
        duration = average_fade_duration(margin_db, doppler, k_factor_db)
        assert duration * expected == pytest.approx(outage(margin_db, k_factor_db), rel=1e-9)


def test_without_motion_or_fading_nothing_crosses():
    assert level_crossing_rate(10.0, 0.0) == level_crossing_rate(10.0, 5.0, math.inf) == 0.0
    assert average_fade_duration(10.0, 0.0) == math.inf
    assert average_fade_duration(10.0, 5.0, math.inf) == 0.0


@pytest.mark.parametrize(("call", "match"), [
    (lambda: fade_margin_db(0.0), "outage 0.0 must be above 0"),
    (lambda: fade_margin_db(1.2), "outage 1.2"),
    (lambda: outage(3.0, 300.0), "k_factor_db 300"),
    (lambda: outage(3.0, math.nan), "k_factor_db nan"),
])  # fmt: skip
def test_impossible_values_are_refused(call, match):
    with pytest.raises(ValueError, match=match):
        call()
