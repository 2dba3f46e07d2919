"""Modulations of 3GPP TS 38.211, section 5.1, with bitwise demapping: BPSK, QPSK, 16-QAM."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

from codec.channels.radio.closed_forms import mean_tail

ErrorTerms = Sequence[tuple[float, float]]


class Modulation(ABC):
    """Maps m bits to a complex symbol and back to m log-likelihood ratios.

    A subclass sets `kind` and `bits_per_symbol` and implements `symbols_of` and `error_terms`; see `QPSK`.

    Attributes:
        kind: name of the modulation ("qpsk").
        bits_per_symbol: m.
        points: complex128 `[2^m]`, the symbol of each label; a label's first bit is its highest. Their mean energy is
            1.
        name: `kind`, with "-exact" for exact demapping.

    Args:
        exact: demap by log Σ exp over the points (log-MAP); false takes the nearest point alone of either bit
            (max-log). For BPSK and QPSK both are the same.
    """

    kind: str
    bits_per_symbol: int

    def __init__(self, *, exact: bool = False) -> None:
        self.exact = exact
        self.name = f"{self.kind}-exact" if exact else self.kind
        count = self.bits_per_symbol
        labels = torch.arange(2**count)[:, None] >> torch.arange(count - 1, -1, -1) & 1
        self.points = self.symbols_of(labels.double())  # [2^m]
        self._zeros = [(labels[:, i] == 0).nonzero()[:, 0] for i in range(count)]
        self._ones = [(labels[:, i] == 1).nonzero()[:, 0] for i in range(count)]

    @abstractmethod
    def symbols_of(self, labels: Tensor) -> Tensor:
        """Symbols complex128 `[...]`, of mean energy 1, for bits float64 `[..., m]`."""

    @abstractmethod
    def error_terms(self) -> Sequence[ErrorTerms]:
        """Closed form of the bit error rate of nearest-point decisions, for each of the m bits of a symbol.

        A bit's pairs (c, a) mean P(error) = Σ c Q(√(2 a γ)) at an energy γ = Ec/N0 of each bit in white Gaussian noise;
        Ec is the symbol's energy over m.
        """

    def error_rate(self, ec_n0: float, k_factor: float = float("inf")) -> float:
        """Mean over a symbol's bits of the bit error rate of nearest-point decisions, the gain being known.

        >>> round(QAM16().error_rate(10.0), 6), round(BPSK().error_rate(10.0, k_factor=0.0), 6)
        (0.001754, 0.023269)

        Args:
            ec_n0: mean Ec/N0, linear.
            k_factor: power of the line of sight over that of the scattered part, linear: infinite for white Gaussian
                noise alone, 0 for Rayleigh fading.
        """
        rates = [sum(c * mean_tail(a * ec_n0, k_factor) for c, a in terms) for terms in self.error_terms()]
        return sum(rates) / len(rates)

    def modulate(self, bits: Tensor) -> Tensor:
        """Symbols complex128 `[..., S]` of bits uint8 `[..., S · m]`.

        >>> QPSK().modulate(torch.tensor([0, 0, 1, 0], dtype=torch.uint8))
        tensor([ 0.7071+0.7071j, -0.7071+0.7071j], dtype=torch.complex128)
        """
        count = self.bits_per_symbol
        labels = bits.long().unflatten(-1, (-1, count)) << torch.arange(count - 1, -1, -1, device=bits.device)
        return self.points.to(bits.device)[labels.sum(-1)]

    def demap(self, received: Tensor, gain: Tensor, noise_variance: float) -> Tensor:
        """Log-likelihood ratios log P(0)/P(1) of the bits, equally likely before, float64 `[..., S · m]`.

        With received r = h s + w, w complex Gaussian, the ratio of a bit is

            log Σ_{s: bit 0} exp(−|r − h s|² / σ²) − log Σ_{s: bit 1} exp(−|r − h s|² / σ²),

        where max-log puts the largest summand for each sum.

        Args:
            received: r, complex128 `[..., S]`.
            gain: h, known to the receiver, of the same shape.
            noise_variance: σ² = E|w|², both quadratures, where symbols have energy 1: N0/Es, above 0.
        """
        return self._ratios(self._metrics(received, gain) / noise_variance, self.exact)

    def decide(self, received: Tensor, gain: Tensor) -> Tensor:
        """Bits uint8 `[..., S · m]` of the points nearest to r / h; arguments as of `demap`."""
        return (self._ratios(self._metrics(received, gain), exact=False) < 0).to(torch.uint8)

    def _metrics(self, received: Tensor, gain: Tensor) -> Tensor:
        """|r|² − |r − h s|² for each point s, float64 `[..., S, 2^m]`; without |r|², whose rounding would swamp it."""
        points = self.points.to(received.device)
        cross = (received * gain.conj())[..., None] * points.conj()
        return 2.0 * cross.real - (gain.abs().square()[..., None] * points.abs().square())

    def _ratios(self, metrics: Tensor, exact: bool) -> Tensor:
        """From exponents of each point's likelihood, `[..., S, 2^m]`, to ratios of each bit, `[..., S · m]`."""
        pairs = zip(self._zeros, self._ones, strict=True)
        if exact:
            ratios = [metrics[..., zero].logsumexp(-1) - metrics[..., one].logsumexp(-1) for zero, one in pairs]
        else:
            ratios = [metrics[..., zero].amax(-1) - metrics[..., one].amax(-1) for zero, one in pairs]
        return torch.stack(ratios, -1).flatten(-2)


class BPSK(Modulation):
    """One bit a symbol, ±(1 + j)/√2 (TS 38.211, section 5.1.2); its error rate is Q(√(2 Ec/N0)) (Proakis, 4.3)."""

    kind = "bpsk"
    bits_per_symbol = 1

    def symbols_of(self, labels: Tensor) -> Tensor:
        """(1 − 2 b) (1 + j) / √2."""
        amplitude = (1.0 - 2.0 * labels[..., 0]) * 0.5**0.5
        return torch.complex(amplitude, amplitude)

    def error_terms(self) -> list[ErrorTerms]:
        """Q(√(2γ))."""
        return [[(1.0, 1.0)]]


class QPSK(Modulation):
    """Two bits a symbol, one a quadrature (TS 38.211, section 5.1.3): at one Ec/N0 the error rate of BPSK."""

    kind = "qpsk"
    bits_per_symbol = 2

    def symbols_of(self, labels: Tensor) -> Tensor:
        """[(1 − 2 b₀) + j (1 − 2 b₁)] / √2."""
        signs = (1.0 - 2.0 * labels) * 0.5**0.5
        return torch.complex(signs[..., 0], signs[..., 1])

    def error_terms(self) -> list[ErrorTerms]:
        """Q(√(2γ)) for both bits."""
        return [[(1.0, 1.0)]] * 2


class QAM16(Modulation):
    """Four bits a symbol, Gray-labelled, two a quadrature (TS 38.211, section 5.1.4).

    The first two bits, the signs, err less often than the last two, the amplitudes. With d = √(Es / (5 N0)),
    P = [Q(d) + Q(3d)] / 2 for a sign and [2 Q(d) + Q(3d) − Q(5d)] / 2 for an amplitude (Cho and Yoon 2002).
    """

    kind = "16qam"
    bits_per_symbol = 4

    def symbols_of(self, labels: Tensor) -> Tensor:
        """{(1 − 2 b₀) [2 − (1 − 2 b₂)] + j (1 − 2 b₁) [2 − (1 − 2 b₃)]} / √10."""
        signs = 1.0 - 2.0 * labels
        levels = signs[..., :2] * (2.0 - signs[..., 2:]) * 0.1**0.5
        return torch.complex(levels[..., 0], levels[..., 1])

    def error_terms(self) -> list[ErrorTerms]:
        """The two forms above in γ = Es / (4 N0): d² = 2 · 0.4 γ."""
        near, far, farthest = 0.4, 9 * 0.4, 25 * 0.4
        sign, amplitude = [(0.5, near), (0.5, far)], [(1.0, near), (0.5, far), (-0.5, farthest)]
        return [sign, sign, amplitude, amplitude]
