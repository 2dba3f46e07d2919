"""Closed forms of Rayleigh and Rician fading: error rates, outage and fade margin, level crossings, fade durations."""

import math

from scipy import integrate, special, stats

from codec.channels.base import check_share
from codec.errors import InvalidValue


def linear(decibels: float) -> float:
    """10^(decibels / 10), for infinite decibels too."""
    return math.inf if decibels == math.inf else 10.0 ** (decibels / 10.0)


def linear_k_factor(k_factor_db: float | None) -> float:
    """Rice's K as a ratio: 0 for None, which is Rayleigh fading.

    Raises:
        InvalidValue: K is not a number, or beyond ±100 dB, but not infinite.
    """
    return 0.0 if k_factor_db is None else linear(check_decibels("k_factor_db", k_factor_db, 100.0))


def check_decibels(name: str, value: float, limit: float) -> float:
    """`value` as a float.

    Raises:
        InvalidValue: it is beyond ±`limit`, but not infinite, or not a number; the message calls it `name`.
    """
    if math.isnan(value) or (abs(value) > limit and not math.isinf(value)):
        raise InvalidValue(name, value, f"must be -{limit:g} to {limit:g} decibels or infinite", "take 10")
    return float(value)


def mean_tail(snr: float, k_factor: float) -> float:
    """E Q(√(2 γ |h|²)), the mean over fading of the Gaussian tail Q, for γ = `snr`, linear.

    h is Rician with E|h|² = 1. Without fading (K = ∞) it is Q(√(2γ)); for Rayleigh fading (K = 0)
    (1 − √(γ / (1 + γ))) / 2 (Proakis, section 13.3); otherwise Craig's form with the moment generating function M of
    |h|² (Simon and Alouini, Digital Communication over Fading Channels, sections 4.1 and 2.2):

        (1/π) ∫₀^{π/2} M(−γ / sin²θ) dθ,   M(s) = (1 + K) / (1 + K − s) · exp(K s / (1 + K − s)).

    >>> [round(mean_tail(10.0, k), 5) for k in (0.0, 1.0, 10.0)]
    [0.02327, 0.01821, 0.0007]

    Args:
        snr: γ, 0 to infinity.
        k_factor: K, linear, 0 to infinity.
    """
    if math.isinf(k_factor):
        return 0.5 * math.erfc(math.sqrt(snr))
    if math.isinf(snr):
        return 0.0
    if k_factor == 0.0:
        return 0.5 / (1.0 + snr + math.sqrt(snr * (1.0 + snr)))  # the form above, without its difference

    def integrand(angle: float) -> float:
        sine = (1.0 + k_factor) * math.sin(angle) ** 2
        return sine / (sine + snr) * math.exp(-k_factor * snr / (sine + snr)) if sine + snr else 1.0

    return float(integrate.quad(integrand, 0.0, math.pi / 2, epsabs=0.0, epsrel=1e-9, limit=500)[0]) / math.pi


def outage(margin_db: float, k_factor_db: float | None = None) -> float:
    """P(|h|² < 10^(−margin/10)): how often the power is by `margin_db` or more below its mean.

    1 − exp(−x) for Rayleigh fading and 1 − Q₁(√(2K), √(2 (K + 1) x)) with Marcum's Q for Rician fading,
    x = 10^(−margin/10).

    >>> round(outage(20.0), 6), round(outage(20.0, k_factor_db=6.0), 6)
    (0.00995, 0.000999)

    Args:
        margin_db: fade margin, mean power over the power that is needed, in dB.
        k_factor_db: Rice's K in dB, ±100 at most; None for Rayleigh fading, infinite for none.
    """
    power, k_factor = linear(-margin_db), linear_k_factor(k_factor_db)
    if math.isinf(k_factor):
        return float(power > 1.0)
    if k_factor == 0.0:
        return -math.expm1(-power)
    return float(stats.ncx2.cdf(2.0 * (k_factor + 1.0) * power, 2, 2.0 * k_factor))


def fade_margin_db(probability: float, k_factor_db: float | None = None) -> float:
    """The margin, in dB, with which the power falls below what is needed with this probability: inverts `outage`.

    >>> round(fade_margin_db(0.01), 2)
    19.98

    Raises:
        InvalidValue: the probability is not above 0 and below 1.
    """
    if not 0.0 < check_share("outage", probability) < 1.0:
        raise InvalidValue("outage", probability, "must be above 0 and below 1", "take 0.01")
    k_factor = linear_k_factor(k_factor_db)
    if math.isinf(k_factor):
        return 0.0
    if k_factor == 0.0:
        return -10.0 * math.log10(-math.log1p(-probability))
    power = float(stats.ncx2.ppf(probability, 2, 2.0 * k_factor)) / (2.0 * (k_factor + 1.0))
    return -10.0 * math.log10(power)


def level_crossing_rate(margin_db: float, doppler_hz: float, k_factor_db: float | None = None) -> float:
    """Fades a second: how often |h| falls through the level `margin_db` below its root mean square (Rice 1948).

    With ρ = 10^(−margin/20), scattered power from all sides and a line of sight that is not Doppler-shifted,

        √(2π (K + 1)) f_d ρ exp(−K − (K + 1) ρ²) I₀(2ρ √(K (K + 1))).

    >>> round(level_crossing_rate(0.0, 10.0), 3)
    9.221

    Args:
        margin_db: as of `outage`.
        doppler_hz: f_d, maximum Doppler shift.
        k_factor_db: as of `outage`.
    """
    level, k_factor = 10.0 ** (-margin_db / 20.0), linear_k_factor(k_factor_db)
    if math.isinf(k_factor):
        return 0.0
    bessel = special.i0e(2.0 * level * math.sqrt(k_factor * (k_factor + 1.0)))  # with its growth in the exponent
    exponent = -((math.sqrt(k_factor) - level * math.sqrt(k_factor + 1.0)) ** 2)
    return math.sqrt(2.0 * math.pi * (k_factor + 1.0)) * doppler_hz * level * math.exp(exponent) * float(bessel)


def average_fade_duration(margin_db: float, doppler_hz: float, k_factor_db: float | None = None) -> float:
    """Mean duration of a fade in seconds, `outage` over `level_crossing_rate`; arguments as of these.

    >>> round(1000 * average_fade_duration(20.0, 10.0), 2)
    4.01
    """
    crossings = level_crossing_rate(margin_db, doppler_hz, k_factor_db)
    below = outage(margin_db, k_factor_db)
    return below / crossings if crossings else math.inf if below else 0.0
