"""Radio channels with a receiver that knows the gain: the common part, and flat Rayleigh and Rician block fading."""

import math
from abc import abstractmethod

import torch
from torch import Tensor

from codec.channels.base import Channel, check_frames
from codec.channels.coding.base import probabilities_of_ones
from codec.channels.radio import closed_forms
from codec.channels.radio.clarke import clarke_process
from codec.channels.radio.modulation import BPSK, Modulation
from codec.errors import InvalidValue

LIMIT_DB = 200.0
MOST_CYCLES = 100.0  # of the Doppler shift in a frame; at more, gains of different frames are practically independent


class RadioChannel(Channel):
    """Sends each frame's bits as modulated symbols: r = h s + w, with a gain h that the receiver knows.

    w is complex Gaussian with E|w|² = N0/Es, where Es = m Ec is the mean energy received of a symbol of m bits, with
    E|h|² = E|s|² = 1. So Ec/N0 is per channel bit, as Es/N0 of `AWGNChannel`. The receiver decides for the nearest
    point, or returns the probability of each bit from h, r and N0 (`Modulation.demap`): max-log unless the modulation
    is `exact`, which for 16-QAM is somewhat too unsure. Synchronisation and the knowledge of h are perfect, and free.
    `error_rate` is exact where a frame's bits fill its symbols; padded 16-QAM weighs the places of a symbol otherwise.

    A frame is sent by itself: bits that do not fill its last symbol are padded with zeros, which count as sent. From
    one generator state, all Ec/N0, both receivers, and exact and max-log demapping meet the same gains and the same
    noise. Each clip of `[B, F, n]` is drawn by itself. At Ec/N0 = ∞ every bit arrives; at −∞ soft decisions are 0.5.

    A subclass sets `error_rate`, calls `_set_names`, and implements `gains`.

    Args:
        ec_n0_db: mean energy received of a channel bit over the noise density, in dB; infinity is noiseless. Behind a
            code of rate R, Ec/N0 = R · Eb/N0.
        modulation: bits to symbols and back; None for `BPSK`.
        doppler_hz: f_d, largest Doppler shift, speed · carrier frequency / speed of light: 5.6 Hz at 3 km/h and 2 GHz.
            0 is one gain for a whole clip; infinite means gains that do not depend on each other.
        frame_seconds: duration of a frame, which a channel is not told otherwise: 0.02 for 50 frames a second.
        soft: return probabilities instead of hard decisions.

    Raises:
        InvalidValue: `ec_n0_db` is beyond ±200 dB, but not infinite, or not a number; a negative Doppler shift; frames
            without duration; when called, bits without a frame axis.
    """

    def __init__(
        self, ec_n0_db: float, *, modulation: Modulation | None, doppler_hz: float, frame_seconds: float, soft: bool
    ) -> None:
        self.ec_n0_db = closed_forms.check_decibels("ec_n0_db", ec_n0_db, LIMIT_DB)
        if not doppler_hz >= 0.0:
            raise InvalidValue("doppler_hz", doppler_hz, "must be 0 or more, or infinite", "take 5")
        if not 0.0 < frame_seconds < math.inf:
            raise InvalidValue("frame_seconds", frame_seconds, "must be above 0 s", "take 0.02")
        if MOST_CYCLES < doppler_hz * frame_seconds < math.inf:
            allowed = f"must be at most {MOST_CYCLES:g} cycles in a frame of {frame_seconds:g} s, or infinite"
            raise InvalidValue(
                "doppler_hz", doppler_hz, allowed, "take 5, or .inf for gains that do not depend on each other"
            )
        self.modulation, self.soft = modulation or BPSK(), soft
        self.doppler_hz, self.frame_seconds = float(doppler_hz), float(frame_seconds)

    @property
    def curve(self) -> str:
        return f"{self._kind}-{'soft' if self.soft else 'hard'}"

    @property
    def by_frame(self) -> bool:
        """Symbols are those of one frame each."""
        return True

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for `frames` frames of `frame_bits` each, those that fill each frame's last symbol included."""
        return frames * self._symbols(frame_bits) * self.modulation.bits_per_symbol

    @abstractmethod
    def gains(self, frames: int, symbols: int, generator: torch.Generator) -> Tensor:
        """Draw a clip's gains h, complex128 `[frames, symbols]`, of each symbol of each frame; E|h|² = 1."""

    def bit_order(self, symbols: int) -> Tensor:
        """Places, int64 `[symbols · m]`, of a frame's padded bits among those of its symbols; here each in its own."""
        return torch.arange(symbols * self.modulation.bits_per_symbol)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit uint8 `[..., F, n]`: see `Channel`."""
        check_frames(bits)
        if not bits.numel():
            return bits.float() if self.soft else bits.clone()
        frames, frame_bits = bits.shape[-2:]
        symbols = self._symbols(frame_bits)
        places = self.bit_order(symbols)[:frame_bits]
        clips = bits.reshape(-1, frames, frame_bits).cpu()
        sent = clips.new_zeros(len(clips), frames, symbols * self.modulation.bits_per_symbol)
        sent[..., places] = clips
        draws = [self._draw(frames, symbols, generator) for _ in clips]
        gain, noise = (torch.stack(parts) for parts in zip(*draws, strict=True))  # [B, F, S]
        received = self._receive(sent, gain, noise)[..., places]
        return received.view(bits.shape).to(bits.device)

    def _receive(self, sent: Tensor, gain: Tensor, noise: Tensor) -> Tensor:
        """Send bits `[B, F, S · m]` through gains and noise of power 1, `[B, F, S]`; the same shape as `sent`."""
        if self.ec_n0_db == math.inf:
            return sent.float() if self.soft else sent
        if self.ec_n0_db == -math.inf and self.soft:
            return torch.full(sent.shape, 0.5)
        ec_n0 = closed_forms.linear(max(self.ec_n0_db, -LIMIT_DB))
        variance = 1.0 / (self.modulation.bits_per_symbol * ec_n0)
        received = gain * self.modulation.modulate(sent) + math.sqrt(variance) * noise
        if not self.soft:
            return self.modulation.decide(received, gain)
        return probabilities_of_ones(self.modulation.demap(received, gain, variance))

    def _draw(self, frames: int, symbols: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """A clip's gains and noise of power 1, complex128 `[F, S]`; gains first, so that they do not hang on n."""
        gains = self.gains(frames, symbols, generator)
        parts = torch.randn(frames, symbols, 2, generator=generator, dtype=torch.float64)
        return gains, torch.view_as_complex(parts) * math.sqrt(0.5)

    def _symbols(self, frame_bits: int) -> int:
        """Symbols that carry a frame."""
        return -(-frame_bits // self.modulation.bits_per_symbol)

    def _set_names(self, family: str, kind: str) -> None:
        """Name the family, and this setting by `kind` and modulation as well."""
        self.family = family
        self._kind = f"{family}-{kind}" if kind else family
        self._kind += f"-{self.modulation.name}"
        self.name = f"{self._kind}-{self.ec_n0_db:g}dB-{'soft' if self.soft else 'hard'}"

    def _motion(self) -> str:
        """Doppler shift and duration of a frame, for names."""
        shift = "independent" if math.isinf(self.doppler_hz) else f"{self.doppler_hz:g}Hz"
        return shift if self.frame_seconds == 0.02 else f"{shift}-{1000 * self.frame_seconds:g}ms"


class FadingChannel(RadioChannel):
    """Flat block fading: one gain a block, from Rice's law with Doppler (Simon and Alouini, section 2.2; Jakes 1974).

    With Rice's factor K, the power of the line of sight over that of the scattered part,

        h(t) = √(K / (K + 1)) exp(jφ) + √(1 / (K + 1)) g(t),

    φ uniform and g Clarke's process (`clarke_process`), so that E h(t + τ) h*(t) = [K + J₀(2π f_d τ)] / (K + 1): the
    line of sight arrives at right angles to the motion. Rayleigh fading is K = 0; K = ∞ is white Gaussian noise, with
    the statistics of `AWGNChannel`. The gain of a block is that at its start. `error_rate` is the mean over gains in
    closed form (`Modulation.error_rate`); slow fading makes the rate of a clip vary widely around it.

    The gains do not depend on how many bits a frame has, so that systems of different rate or protection meet the same
    fades. All settings of one `doppler_hz`, `frame_seconds` and `blocks_per_frame` are one family, whatever their K and
    modulation. BPSK and QPSK errors are nested over Ec/N0: a bit wrong at one is wrong at every lower one.

    >>> channel = FadingChannel(10.0, modulation=QPSK(), doppler_hz=5.0)
    >>> channel.name, round(channel.error_rate, 4)
    ('fading-5Hz-rayleigh-qpsk-10dB-soft', 0.0233)

    Args:
        ec_n0_db: as of `RadioChannel`, with the following.
        modulation: None for `BPSK`.
        k_factor_db: K in dB; None for Rayleigh fading, infinite for no fading.
        doppler_hz: f_d.
        frame_seconds: duration of a frame.
        blocks_per_frame: gains a frame, equally spaced in time; symbol i of S goes with gain ⌊i · blocks / S⌋. At
            infinite Doppler shift they are independent: block fading in the sense of information theory.
        soft: return probabilities instead of hard decisions.

    Raises:
        InvalidValue: as `RadioChannel`; K beyond ±100 dB, but not infinite, or not a number; no block.
    """

    def __init__(
        self,
        ec_n0_db: float,
        *,
        modulation: Modulation | None = None,
        k_factor_db: float | None = None,
        doppler_hz: float = 5.0,
        frame_seconds: float = 0.02,
        blocks_per_frame: int = 1,
        soft: bool = True,
    ) -> None:
        super().__init__(ec_n0_db, modulation=modulation, doppler_hz=doppler_hz, frame_seconds=frame_seconds, soft=soft)
        if blocks_per_frame < 1:
            raise InvalidValue("blocks_per_frame", blocks_per_frame, "must be at least 1")
        self._k_factor = closed_forms.linear_k_factor(k_factor_db)
        self.k_factor_db, self.blocks_per_frame = k_factor_db, blocks_per_frame
        self.error_rate = self.modulation.error_rate(closed_forms.linear(self.ec_n0_db), self._k_factor)
        blocks = f"-{blocks_per_frame}blocks" if blocks_per_frame > 1 else ""
        law = "rayleigh" if k_factor_db is None else f"rice{k_factor_db:g}dB"
        self._set_names(f"fading-{self._motion()}{blocks}", "awgn" if math.isinf(self._k_factor) else law)

    def gains(self, frames: int, symbols: int, generator: torch.Generator) -> Tensor:
        """Draw a clip's gains h, complex128 `[frames, symbols]`; symbols of a block have the same."""
        blocks, step = self.blocks_per_frame, self.frame_seconds / self.blocks_per_frame
        phase = 2.0 * math.pi * torch.rand(1, generator=generator, dtype=torch.float64)
        scattered = clarke_process(frames * blocks, step, self.doppler_hz, generator)[0].view(frames, blocks)
        sight = 1.0 if math.isinf(self._k_factor) else self._k_factor / (self._k_factor + 1.0)
        gains = math.sqrt(sight) * torch.polar(torch.ones_like(phase), phase) + math.sqrt(1.0 - sight) * scattered
        return gains[:, torch.arange(symbols) * blocks // symbols]
