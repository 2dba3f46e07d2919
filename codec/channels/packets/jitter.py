"""Packets that come too late for a playout buffer: delay laws, correlated in time, and the channel of late losses."""

import math
from abc import ABC, abstractmethod
from itertools import accumulate

import torch
from scipy.special import gammaincc, gammaincinv, ndtr, ndtri
from torch import Tensor

from codec.channels.base import check_share
from codec.channels.packets.frame_losses import PacketChannel
from codec.channels.packets.loss_models import packet_suffix
from codec.channels.packets.traces import playout_frames
from codec.errors import InvalidValue


class DelayLaw(ABC):
    """The law of a packet's jitter X: its delay in the network beyond the smallest possible one, X ≥ 0, in seconds.

    The smallest delay (propagation, serialisation) shifts all packets alike and makes none late.

    Attributes:
        name: law and parameters, unique among settings.
    """

    name: str

    @abstractmethod
    def exceeds(self, seconds: float) -> float:
        """P(X > seconds), for seconds of 0 or more."""

    @abstractmethod
    def quantiles(self, shares: Tensor) -> Tensor:
        """Seconds that X does not exceed with the probabilities `shares`, float64 in (0, 1), of any shape."""


class GammaDelay(DelayLaw):
    """X of a gamma law with shape k = m² / s² and scale s² / m; with the smallest delay it is a shifted gamma.

    P(X > b) = Γ(k, b / scale) / Γ(k), the regularised upper incomplete gamma function. s = m is exponential.

    >>> round(GammaDelay(0.02, 0.02).exceeds(0.06), 4)
    0.0498

    Args:
        mean_seconds: m.
        deviation_seconds: s, standard deviation.

    Raises:
        InvalidValue: a number is not above 0.
    """

    def __init__(self, mean_seconds: float = 0.02, deviation_seconds: float = 0.02) -> None:
        for option, value in (("mean_seconds", mean_seconds), ("deviation_seconds", deviation_seconds)):
            if not 0 < value < math.inf:
                raise InvalidValue(option, value, "must be above 0 seconds", "take 0.02")
        ratio = mean_seconds / deviation_seconds
        if not 1e-3 <= ratio <= 1e3:
            raise InvalidValue("deviation_seconds", deviation_seconds, "must be within a factor of 1000 of the mean")
        self.shape = ratio**2
        self.scale = deviation_seconds**2 / mean_seconds
        self.name = f"gamma{1000 * mean_seconds:g}-{1000 * deviation_seconds:g}ms"

    def exceeds(self, seconds: float) -> float:
        return float(gammaincc(self.shape, seconds / self.scale))

    def quantiles(self, shares: Tensor) -> Tensor:
        return torch.from_numpy(self.scale * gammaincinv(self.shape, shares.numpy()))


class ParetoDelay(DelayLaw):
    """X of a Lomax (shifted Pareto) law, for rare long delays: P(X > b) = (1 + b / ((a − 1) m))^(−a), of mean m.

    Args:
        mean_seconds: m.
        tail: a, above 1; the variance is infinite up to 2.

    Raises:
        InvalidValue: the mean is not above 0, or the tail not above 1.
    """

    def __init__(self, mean_seconds: float = 0.02, tail: float = 3.0) -> None:
        if not 0 < mean_seconds < math.inf:
            raise InvalidValue("mean_seconds", mean_seconds, "must be above 0 seconds", "take 0.02")
        if not 1 < tail < math.inf:
            raise InvalidValue("tail", tail, "must be above 1, where the mean is finite", "take 3")
        self.scale, self.tail = (tail - 1) * mean_seconds, tail
        self.name = f"pareto{1000 * mean_seconds:g}ms-{tail:g}"

    def exceeds(self, seconds: float) -> float:
        return float((1 + seconds / self.scale) ** -self.tail)

    def quantiles(self, shares: Tensor) -> Tensor:
        return self.scale * ((1 - shares) ** (-1 / self.tail) - 1)


class JitterChannel(PacketChannel):
    """Loses packets that arrive after their playout time, and others in the network.

    Packet i has the jitter Xᵢ = F⁻¹(Φ(zᵢ)), F being the delay law, with zᵢ = ρ zᵢ₋₁ + √(1 − ρ²) eᵢ standard normal (an
    AR(1) process under a Gaussian copula, from its stationary start) and ρ = exp(−P / `correlation_seconds`) for
    packets P = `frames_per_packet` · `frame_seconds` apart. The receiver plays it b = `buffer_seconds` after it would
    have come without jitter; it is lost if Xᵢ > b. A share p = `loss_rate` is lost in the network besides,
    independently. The expected share lost is 1 − (1 − p) F(b); two neighbours are both late with the bivariate normal
    probability P(zᵢ > t, zᵢ₊₁ > t), t = Φ⁻¹(F(b)). Realisations are nested over buffers, loss rates and laws.

    Other losses in the network: put this channel behind them in a `CascadedChannel`.

    >>> round(JitterChannel(0.06, delay=GammaDelay(0.02, 0.02)).error_rate, 4)
    0.0498

    Args:
        buffer_seconds: b, length of the playout buffer in seconds, counted in `delay_frames`.
        frames_per_packet: consecutive frames that travel together; the last packet of a clip may hold fewer.
        delay: law of the jitter; None for `GammaDelay()`.
        correlation_seconds: time over which the correlation of z falls to 1 / e; 0 for independent packets.
        loss_rate: p, share of packets lost in the network.
        frame_seconds: duration of the codec's frame in seconds.

    Raises:
        InvalidValue: a number is out of range.
    """

    family = "jitter"

    def __init__(
        self,
        buffer_seconds: float,
        frames_per_packet: int = 1,
        *,
        delay: DelayLaw | None = None,
        correlation_seconds: float = 0.0,
        loss_rate: float = 0.0,
        frame_seconds: float = 0.02,
    ) -> None:
        super().__init__(frames_per_packet)
        if not 0 <= buffer_seconds < math.inf:
            raise InvalidValue("buffer_seconds", buffer_seconds, "must be 0 seconds or more", "take 0.06")
        if not 0 <= correlation_seconds < math.inf:
            raise InvalidValue("correlation_seconds", correlation_seconds, "must be 0 seconds or more", "take 0.1")
        if not 0 < frame_seconds < math.inf:
            raise InvalidValue("frame_seconds", frame_seconds, "must be above 0 seconds", "take 0.02")
        self.buffer_seconds, self.frame_seconds = buffer_seconds, frame_seconds
        self.delay = delay or GammaDelay()
        self.loss_rate = check_share("loss_rate", loss_rate)
        spacing = frames_per_packet * frame_seconds
        self.correlation = math.exp(-spacing / correlation_seconds) if correlation_seconds else 0.0
        self.late_share = self.delay.exceeds(buffer_seconds)
        self.error_rate = 1 - (1 - loss_rate) * (1 - self.late_share)
        correlated = f"-correlated{1000 * correlation_seconds:g}ms" if correlation_seconds else ""
        lossy = f"-loss{loss_rate:g}" if loss_rate else ""
        size = packet_suffix(frames_per_packet)
        self._kind = f"{self.family}{size}-{self.delay.name}-{1000 * frame_seconds:g}ms{correlated}{lossy}"
        self.name = f"{self._kind}-buffer{1000 * buffer_seconds:g}ms"

    @property
    def curve(self) -> str:
        return self._kind

    @property
    def delay_frames(self) -> int:
        """Frames for which a packet is collected, and then waits in the playout buffer."""
        return super().delay_frames + playout_frames(self.buffer_seconds, self.frame_seconds)

    def delays(self, packets: int, generator: torch.Generator) -> Tensor:
        """Draw the jitter of packets, float64 `[packets]` in seconds: that of a clip from the same generator."""
        return self.delay.quantiles(torch.from_numpy(ndtr(self._normals(packets, generator).numpy())))

    def _lost(self, packets: int, generator: torch.Generator) -> Tensor:
        late = self._normals(packets, generator) > -float(ndtri(self.late_share))
        return late | (torch.rand(packets, generator=generator, dtype=torch.float64) < self.loss_rate)

    def _normals(self, packets: int, generator: torch.Generator) -> Tensor:
        """Draw z, float64 `[packets]`."""
        draws = torch.randn(packets, generator=generator, dtype=torch.float64)
        if self.correlation == 0.0:
            return draws
        draws[1:] *= math.sqrt(1 - self.correlation**2)
        chain = accumulate(draws.tolist(), lambda before, drawn: self.correlation * before + drawn)
        return torch.tensor(list(chain), dtype=torch.float64)
