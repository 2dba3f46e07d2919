"""Channels with bit errors that ignore frames: binary symmetric, bursts (Gilbert-Elliott), white Gaussian noise."""

import math

import torch
from torch import Tensor

from codec.channels.base import Channel, check_share, uncertain
from codec.errors import InvalidValue


class BinarySymmetricChannel(Channel):
    """Binary symmetric channel: y = x xor e with independent e ~ Bernoulli(p) (NeuCodec, section 3.4).

    Realisations are nested: from one generator state, a bit that is flipped at one rate is flipped at every higher
    rate. At p = 0 nothing changes, at p = 1 every bit is flipped.

    >>> channel = BinarySymmetricChannel(1.0)
    >>> channel(torch.tensor([[0, 1, 1]], dtype=torch.uint8), torch.Generator()).tolist()
    [[1, 0, 0]]

    Args:
        bit_error_rate: p.

    Raises:
        InvalidValue: the rate is outside [0, 1].
    """

    family = "bsc"

    def __init__(self, bit_error_rate: float) -> None:
        self.error_rate = check_share("bit_error_rate", bit_error_rate)
        self.name = f"{self.family}-{bit_error_rate:g}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        flips = torch.rand(bits.shape, generator=generator, dtype=torch.float64) < self.error_rate
        return bits ^ flips.to(bits.device, bits.dtype)


class GilbertElliottChannel(Channel):
    """Bursts of errors from a two-state Markov chain that makes errors in its bad state only (Gilbert 1960).

    With p = `bit_error_rate`, h = `bad_error_rate` and L = `burst_length`, the stationary share of bad bits is
    π = p / h. The chain leaves the bad state with probability 1 / L and the good state with probability
    π / (L (1 − π)) at each bit. It starts in its stationary distribution and runs through all bits of a call in row
    order, frames and clips included. At p = 0 nothing changes. Realisations are nested over rates, as those of
    `BinarySymmetricChannel`, for one h and one L ≥ 1 / (1 − π) of the lower rate.

    >>> channel = GilbertElliottChannel(0.1, 20)
    >>> channel.bad_share, channel.error_rate
    (0.2, 0.1)

    Args:
        bit_error_rate: mean share of bits received wrong.
        burst_length: mean time in the bad state, in bits.
        bad_error_rate: probability of an error in the bad state; 0.5 is a fade in which the signal is lost.

    Raises:
        InvalidValue: the rate exceeds that of the bad state, or the bursts are too short to reach it.
    """

    family = "gilbert-elliott"

    def __init__(self, bit_error_rate: float, burst_length: float = 20.0, *, bad_error_rate: float = 0.5) -> None:
        if not 0.0 < bad_error_rate <= 1.0 or not 0.0 <= bit_error_rate <= bad_error_rate:
            raise InvalidValue(
                "bit_error_rate", bit_error_rate, f"must lie in [0, bad_error_rate], {bad_error_rate} in (0, 1]"
            )
        self.bad_share = bit_error_rate / bad_error_rate
        shortest = shortest_burst(self.bad_share)
        if not shortest <= burst_length * (1 + 1e-9) < math.inf:
            raise InvalidValue("burst_length", burst_length, f"must be at least {shortest:g} bits at this error rate")
        self.error_rate, self.burst_length, self.bad_error_rate = float(bit_error_rate), burst_length, bad_error_rate
        self.name = f"{self.family}-{bit_error_rate:g}-{burst_length:g}-{bad_error_rate:g}"

    @property
    def curve(self) -> str:
        return f"{self.family}-{self.burst_length:g}-{self.bad_error_rate:g}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        bad = self.bad_states(bits.numel(), generator).view(bits.shape)
        wrong = torch.rand(bits.shape, generator=generator, dtype=torch.float64) < self.bad_error_rate
        return bits ^ (bad & wrong).to(bits.device, bits.dtype)

    def bad_states(self, length: int, generator: torch.Generator) -> Tensor:
        """Draw which of `length` bits are sent in the bad state: bool `[length]`."""
        return markov_states(length, self.bad_share, self.burst_length, generator)


class AWGNChannel(Channel):
    """BPSK over additive white Gaussian noise: r = s + w, s = +1 for bit 0 and −1 for bit 1 (Proakis, section 4.3).

    w ~ N(0, σ²) with σ² = N0 / (2 Es). The error rate of hard decisions is Q(√(2 Es/N0)). A soft receiver returns
    P(bit = 1 | r) = 1 / (1 + exp(2 r / σ²)) for equiprobable bits. From one generator state, all settings of both
    receivers see the same noise. At Es/N0 = ∞ every bit arrives; at −∞ hard decisions are random, and soft ones are
    0.5, as for lost bits.

    >>> round(AWGNChannel(0.0).error_rate, 4)
    0.0786

    Args:
        es_n0_db: Es/N0, energy of one channel bit over the noise density, in dB; infinity is noiseless. Behind a code
            of rate R, Es/N0 = R · Eb/N0, so it is equal for systems of equal total bit rate and power.
        soft: return probabilities instead of hard decisions.

    Raises:
        InvalidValue: `es_n0_db` is beyond ±200 dB, but not infinite, or not a number.
    """

    family = "awgn"

    def __init__(self, es_n0_db: float, soft: bool = False) -> None:
        if math.isnan(es_n0_db) or (abs(es_n0_db) > 200 and not math.isinf(es_n0_db)):
            raise InvalidValue("es_n0_db", es_n0_db, "must be -200 to 200 decibels or infinite", "take 3")
        self.es_n0_db, self.soft = float(es_n0_db), soft
        self.error_rate = 0.5 * math.erfc(10.0 ** (es_n0_db / 20.0))
        self.name = f"{self.family}-{es_n0_db:g}dB-{'soft' if soft else 'hard'}"

    @property
    def curve(self) -> str:
        return f"{self.family}-{'soft' if self.soft else 'hard'}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        deviation = math.sqrt(0.5) * 10.0 ** (-self.es_n0_db / 20.0)
        if math.isinf(deviation):  # no signal: the posterior is 1/2, and a hard decision is the noise's sign
            noise = torch.randn(bits.shape, generator=generator, dtype=torch.float64)
            return (
                torch.full(bits.shape, 0.5, device=bits.device)
                if self.soft
                else (noise < 0).to(bits.device, bits.dtype)
            )
        noise = deviation * torch.randn(bits.shape, generator=generator, dtype=torch.float64)
        signal = 1.0 - 2.0 * bits.cpu().double() + noise
        if not self.soft:
            return (signal < 0).to(bits.device, bits.dtype)
        if deviation == 0.0:
            return bits.float()
        # Noise leaves no bit certain.
        return uncertain(torch.sigmoid(-2.0 * signal / deviation**2).float()).to(bits.device)


def markov_states(length: int, bad_share: float, burst_length: float, generator: torch.Generator) -> Tensor:
    """Draw a stationary two-state Markov chain, bool `[length]`, True in the bad state.

    Realisations are nested: from one generator state and with one burst length, a step that is bad at one share is bad
    at every higher one, as long as bursts are at least 1 / (1 − share) steps long for the lower share (there a bad step
    makes the next one no less likely to be bad). Each step compares one random number with the probability of going to
    the bad state.

    Args:
        length: number of steps.
        bad_share: stationary probability of the bad state, in [0, 1].
        burst_length: mean time in the bad state, in steps, at least `shortest_burst(bad_share)`.
        generator: source of all draws, `length` of them.
    """
    draws = torch.rand(length, generator=generator, dtype=torch.float64)
    if bad_share in (0.0, 1.0):
        return torch.full((length,), bad_share == 1.0)
    stay = 1.0 - 1.0 / burst_length
    enter = min(1.0, bad_share / (burst_length * (1.0 - bad_share)))
    # Whatever the state before, a draw below both probabilities leads to the bad state and one above both to the good
    # one; in between, the state stays if bursts last (stay >= enter), else it changes.
    decided = (draws < min(stay, enter)) | (draws >= max(stay, enter))
    bad = draws < min(stay, enter)
    if length:
        decided[0], bad[0] = True, draws[0] < bad_share
    step = torch.arange(length)
    last = torch.where(decided, step, 0).cummax(0).values  # the last step whose state is its own
    changes = (step - last) % 2 == 1
    return bad[last] if stay >= enter else bad[last] ^ changes


def shortest_burst(bad_share: float) -> float:
    """Least mean time in the bad state, in steps, with which a chain can reach `bad_share`; at least 1."""
    return 1.0 if bad_share == 1.0 else max(1.0, bad_share / (1.0 - bad_share))
