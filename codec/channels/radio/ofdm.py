"""OFDM over a frequency-selective Rayleigh channel, as an abstraction: parallel flat subcarriers, known gains."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.channels.radio import closed_forms
from codec.channels.radio.clarke import clarke_process
from codec.channels.radio.fading import RadioChannel
from codec.channels.radio.modulation import Modulation
from codec.errors import InvalidValue

GOLDEN = (math.sqrt(5.0) - 1.0) / 2.0  # whose multiples modulo 1 fill an interval most evenly


class DelayProfile:
    """Power delay profile: the delays and mean powers of the paths of a channel.

    >>> profile = DelayProfile([0.0, 1000.0], [0.0, 0.0])
    >>> profile.rms_delay_ns, profile.correlation(torch.tensor([250e3]))
    (500.0, tensor([0.5000-0.5000j], dtype=torch.complex128))

    Attributes:
        powers: share of each path, float64 `[L]`, of sum 1.
        rms_delay_ns: delay spread, the standard deviation of the delay under these shares.
        name: number of paths and delay spread ("9taps-991ns").

    Args:
        delays_ns: of each path, in ns, 0 or more.
        powers_db: mean power of each path, in dB, relative: their sum becomes 1.

    Raises:
        InvalidValue: no path, different numbers of delays and powers, or values that are not finite or below 0 ns.
    """

    def __init__(self, delays_ns: Sequence[float], powers_db: Sequence[float]) -> None:
        if not delays_ns or len(delays_ns) != len(powers_db):
            allowed = f"must be one delay for each of the {len(powers_db)} powers, at least one"
            raise InvalidValue("delays_ns", list(delays_ns), allowed)
        self.delays_ns = torch.tensor(delays_ns, dtype=torch.float64)
        decibels = torch.tensor(powers_db, dtype=torch.float64)
        if not bool(self.delays_ns.isfinite().all()) or min(delays_ns) < 0:
            raise InvalidValue("delays_ns", list(delays_ns), "must be finite numbers of 0 or more")
        if not bool(decibels.isfinite().all()):
            raise InvalidValue("powers_db", list(powers_db), "must be finite")
        powers = 10.0 ** ((decibels - decibels.max()) / 10.0)
        self.powers = powers / powers.sum()
        mean = (self.powers * self.delays_ns).sum()
        self.rms_delay_ns = math.sqrt((self.powers * (self.delays_ns - mean).square()).sum().item())
        self.name = f"{len(delays_ns)}taps-{self.rms_delay_ns:.4g}ns"

    def correlation(self, spacing_hz: Tensor) -> Tensor:
        """E H(f + Δ) H*(f) = Σ P exp(−j 2π Δ τ) of gains that are Δ = `spacing_hz` apart, complex128, any shape."""
        return (self.powers * self.rotations(spacing_hz)).sum(-1)

    def rotations(self, frequencies_hz: Tensor) -> Tensor:
        """exp(−j 2π f τ) of each path τ, complex128 `[..., L]`."""
        phases = -2.0 * math.pi * frequencies_hz.double()[..., None] * (1e-9 * self.delays_ns)
        return torch.complex(phases.cos(), phases.sin())


class ExponentialProfile(DelayProfile):
    """An exponential profile of 16 equally spaced paths, each by the factor e^(−1/2), 2.2 dB, below the one before.

    >>> profile = ExponentialProfile(1000.0)
    >>> round(profile.rms_delay_ns, 9)
    1000.0

    Args:
        rms_delay_ns: delay spread in ns, which the spacing of the paths meets exactly (about half of it).

    Raises:
        InvalidValue: the delay spread is not finite or not above 0.
    """

    def __init__(self, rms_delay_ns: float = 1000.0) -> None:
        if not 0.0 < rms_delay_ns < math.inf:
            raise InvalidValue("rms_delay_ns", rms_delay_ns, "must be above 0 ns", "take 1000")
        powers_db = [-5.0 * math.log10(math.e) * path for path in range(16)]
        spread = DelayProfile([float(path) for path in range(16)], powers_db).rms_delay_ns
        super().__init__([path * rms_delay_ns / spread for path in range(16)], powers_db)


class OFDMChannel(RadioChannel):
    """OFDM over Rayleigh fading paths: symbol s on subcarrier k is received as r = H(k, t) s + w (Proakis, 13.6).

    The abstraction: an ideal cyclic prefix, longer than all delays, that costs neither time nor energy; no interference
    between subcarriers or symbols, whatever the Doppler shift; perfect synchronisation; gains known without pilots.
    With paths of power P and delay τ from a profile, each with a Clarke process g of its own,

        H(k, t) = Σ √P g(t) exp(−j 2π k Δf τ),
        E H(k, t) H*(k', t') = J₀(2π f_d (t − t')) Σ P exp(−j 2π (k − k') Δf τ),

    so each subcarrier by itself is flat Rayleigh fading, and `error_rate` is that of `FadingChannel`.

    A frame of S symbols fills ⌈S / N⌉ OFDM symbols of N subcarriers, sent at equal distances over the frame;
    subcarriers that it does not need stay empty. Bits are interleaved over a frame's symbols: bit j of m S goes to
    symbol i = j mod S, place (⌊j / S⌋ + i) mod m, and symbol i to the subcarrier whose number is the rank of
    i (√5 − 1) / 2 mod 1 among N such fractions. Any successive symbols are then spread evenly over the band, neighbours
    about 0.38 N subcarriers apart, and the bits of a notch are spread over the frame, as are the more and the less
    reliable places of a symbol.

    Settings of one profile, grid, Doppler shift and frame duration are one family. Their gains do not depend on n or m
    as long as a frame fits into one OFDM symbol.

    >>> OFDMChannel(10.0, doppler_hz=5.0).name
    'ofdm-64x15kHz-16taps-1000ns-5Hz-bpsk-10dB-soft'

    Args:
        ec_n0_db: as of `RadioChannel`, with the following.
        modulation: None for `BPSK`.
        profile: delays and powers of the paths; None for `ExponentialProfile()`.
        subcarriers: N.
        subcarrier_spacing_hz: Δf.
        doppler_hz: f_d.
        frame_seconds: duration of a frame.
        soft: return probabilities instead of hard decisions.

    Raises:
        InvalidValue: as `RadioChannel`; no subcarrier; a spacing that is not above 0, or so wide that a path is later
            than 1/Δf, a whole OFDM symbol.
    """

    def __init__(
        self,
        ec_n0_db: float,
        *,
        modulation: Modulation | None = None,
        profile: DelayProfile | None = None,
        subcarriers: int = 64,
        subcarrier_spacing_hz: float = 15_000.0,
        doppler_hz: float = 5.0,
        frame_seconds: float = 0.02,
        soft: bool = True,
    ) -> None:
        super().__init__(ec_n0_db, modulation=modulation, doppler_hz=doppler_hz, frame_seconds=frame_seconds, soft=soft)
        self.profile = profile or ExponentialProfile()
        if not 1 <= subcarriers <= 2**16:
            raise InvalidValue("subcarriers", subcarriers, "must be from 1 to 65536", "take 64")
        latest = self.profile.delays_ns.max().item()
        if not 0.0 < subcarrier_spacing_hz < math.inf or subcarrier_spacing_hz * latest >= 1e9:
            allowed = (
                f"must be above 0 and below {1e9 / max(latest, 1e-30):g} Hz, as the last path is {latest:g} ns late"
            )
            raise InvalidValue("subcarrier_spacing_hz", subcarrier_spacing_hz, allowed)
        self.subcarriers, self.subcarrier_spacing_hz = subcarriers, float(subcarrier_spacing_hz)
        self.error_rate = self.modulation.error_rate(closed_forms.linear(self.ec_n0_db), 0.0)
        grid = f"{subcarriers}x{subcarrier_spacing_hz / 1000:g}kHz"
        self._set_names(f"ofdm-{grid}-{self.profile.name}-{self._motion()}", "")

    def gains(self, frames: int, symbols: int, generator: torch.Generator) -> Tensor:
        """Draw a clip's gains H, complex128 `[frames, symbols]`, of each symbol on its subcarrier."""
        count = -(-symbols // self.subcarriers)  # OFDM symbols a frame
        step = self.frame_seconds / count
        paths = clarke_process(
            frames * count, step, self.doppler_hz, generator, processes=len(self.profile.powers)
        ).view(-1, frames, count)  # [L, F, O]
        used = self.places(min(symbols, self.subcarriers)) * self.subcarrier_spacing_hz
        rotations = self.profile.rotations(used) * self.profile.powers.sqrt()  # [N, L]
        response = torch.tensordot(rotations, paths, 1)  # [N, F, O]
        symbol = torch.arange(symbols)
        return response[symbol % self.subcarriers, :, symbol // self.subcarriers].T  # [F, S]

    def places(self, symbols: int) -> Tensor:
        """Subcarrier, int64 `[symbols]`, of each of the first `symbols` symbols of an OFDM symbol."""
        fractions = torch.arange(self.subcarriers, dtype=torch.float64) * GOLDEN % 1.0
        return fractions.argsort().argsort()[:symbols]

    def bit_order(self, symbols: int) -> Tensor:
        """Places, int64 `[symbols · m]`, of a frame's bits among those of its symbols."""
        count = self.modulation.bits_per_symbol
        bit = torch.arange(symbols * count)
        symbol = bit % symbols
        return symbol * count + (bit // symbols + symbol) % count
