"""Channels that hit bits whatever their frame: binary symmetric, bursts (Gilbert-Elliott), and white Gaussian noise."""

import math

import torch
from torch import Tensor

from codec.channels.base import Channel, check_share


class BinarySymmetricChannel(Channel):
    """Flips every bit on its own with probability `bit_error_rate` (NeuCodec, section 3.4).

    Draws of one generator state are nested: a bit flipped at a rate is flipped at every higher rate.

    Raises:
        ValueError: the rate is outside [0, 1].
    """

    family = "bsc"

    def __init__(self, bit_error_rate: float) -> None:
        self.error_rate = check_share("bit_error_rate", bit_error_rate)
        self.name = f"{self.family}-{bit_error_rate:g}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        flips = torch.rand(bits.shape, generator=generator, dtype=torch.float64) < self.error_rate
        return bits ^ flips.to(bits.device, bits.dtype)


class GilbertElliottChannel(Channel):
    """Bursts: a two-state Markov chain that is error-free in its good state (Gilbert 1960; Elliott 1963).

    The chain leaves the bad state with probability 1 / `burst_length` at each bit and enters it so that the share of
    bad bits is `bit_error_rate` / `bad_error_rate`. It starts in its stationary distribution.

    Args:
        bit_error_rate: mean share of bits received wrong.
        burst_length: mean stay in the bad state, in bits.
        bad_error_rate: probability of an error in the bad state; 0.5 is a fade that leaves nothing of the signal.

    Raises:
        ValueError: the rate exceeds that of the bad state, or the bursts are too short to reach it.
    """

    family = "gilbert-elliott"

    def __init__(self, bit_error_rate: float, burst_length: float = 20.0, *, bad_error_rate: float = 0.5) -> None:
        if not 0.0 < bad_error_rate <= 1.0 or not 0.0 <= bit_error_rate <= bad_error_rate:
            raise ValueError(
                f"bit_error_rate {bit_error_rate} must lie in [0, bad_error_rate], {bad_error_rate} in (0, 1]."
            )
        self.bad_share = bit_error_rate / bad_error_rate
        shortest = shortest_burst(self.bad_share)
        if not shortest <= burst_length * (1 + 1e-9) < math.inf:
            raise ValueError(f"burst_length {burst_length} must be at least {shortest:g} bits at this error rate.")
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
        """Which of `length` bits are sent in the bad state: bool `[length]`."""
        return markov_states(length, self.bad_share, self.burst_length, generator)


class AWGNChannel(Channel):
    """BPSK over additive white Gaussian noise: bit 0 is sent as +1, bit 1 as −1 (Proakis, Digital Communications, 4.3).

    With N0 / 2 the variance of the real noise, the error rate of hard decisions is Q(√(2 Es/N0)). A soft receiver
    hands on P(bit = 1 | r) = 1 / (1 + exp(2 r / σ²)) for equiprobable bits. All settings of both receivers see the same
    noise.

    Args:
        es_n0_db: energy of one channel bit over the noise density, in dB; infinity is noiseless. Behind a code of
            rate R, Es/N0 = R · Eb/N0, so systems of one total rate and one power share it.
        soft: hand on probabilities instead of hard decisions.

    Raises:
        ValueError: `es_n0_db` is beyond ±200 dB, but not infinite, or not a number.
    """

    family = "awgn"

    def __init__(self, es_n0_db: float, soft: bool = False) -> None:
        if math.isnan(es_n0_db) or (abs(es_n0_db) > 200 and not math.isinf(es_n0_db)):
            raise ValueError(f"es_n0_db {es_n0_db} must be -200 to 200 decibels or infinite, for example 3.")
        self.es_n0_db, self.soft = float(es_n0_db), soft
        self.error_rate = 0.5 * math.erfc(10.0 ** (es_n0_db / 20.0))
        self.name = f"{self.family}-{es_n0_db:g}dB-{'soft' if soft else 'hard'}"

    @property
    def curve(self) -> str:
        return f"{self.family}-{'soft' if self.soft else 'hard'}"

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        deviation = math.sqrt(0.5) * 10.0 ** (-self.es_n0_db / 20.0)
        if math.isinf(deviation):  # no signal: the posterior knows nothing, a hard decision is the noise's sign
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
        return torch.sigmoid(-2.0 * signal / deviation**2).float().to(bits.device)


def markov_states(length: int, bad_share: float, burst_length: float, generator: torch.Generator) -> Tensor:
    """Stationary two-state chain, bool `[length]`: True where bad, with the given share and mean stay in that state."""
    if bad_share in (0.0, 1.0):
        return torch.full((length,), bad_share == 1.0)
    good_length = max(1.0, burst_length * (1.0 - bad_share) / bad_share)
    first_bad = bool(torch.rand((), generator=generator, dtype=torch.float64) < bad_share)
    means = (burst_length, good_length) if first_bad else (good_length, burst_length)
    pairs = int(length / sum(means)) + 16
    runs: list[Tensor] = []
    while sum(int(r.sum()) for r in runs) < length:
        runs.append(torch.stack([geometric(mean, pairs, generator) for mean in means], 1).flatten())
    stays = torch.cat(runs)
    states = (torch.arange(len(stays)) % 2 == 0) == first_bad
    return states.repeat_interleave(stays)[:length]


def shortest_burst(bad_share: float) -> float:
    """The least mean stay in the bad state with which a chain can reach `bad_share`, at least 1."""
    return 1.0 if bad_share == 1.0 else max(1.0, bad_share / (1.0 - bad_share))


def geometric(mean: float, count: int, generator: torch.Generator) -> Tensor:
    """`count` geometric lengths of at least 1 with the given mean, int64."""
    uniform = torch.rand(count, generator=generator, dtype=torch.float64)
    if mean == 1.0:
        return torch.ones(count, dtype=torch.long)
    return (torch.log1p(-uniform) / math.log1p(-1.0 / mean)).floor().long() + 1
