"""The contract of channels: bits in, bits or their probabilities out, with every draw from an explicit generator."""

import hashlib
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from codec.errors import InvalidValue


def draw_generator(seed: int, clip_id: str, family: str, repeat: int) -> torch.Generator:
    """CPU generator of one channel realisation, seeded by a hash of the arguments.

    Scores therefore do not depend on batch size, order, workers or number of GPUs. The error rate is not among the
    arguments: all rates of a family use the same random numbers (common random numbers), so that rates are compared in
    pairs on a clip.

    Args:
        seed: of the whole evaluation.
        clip_id: of the clip that is sent.
        family: `Channel.family`.
        repeat: number of the realisation, from 0.
    """
    key = f"{seed}\0{clip_id}\0{family}\0{repeat}".encode()
    digest = hashlib.sha256(key).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little", signed=True))


class Channel(ABC):
    """Transmits bits with errors or losses.

    A subclass sets the attributes and implements `__call__`; one that sends more bits than it is given, such as a
    channel behind error correction, also overrides `channel_bits` (`sent_bits` where that depends on the bits), and one
    that holds frames back `delay_frames`.

    Attributes:
        family: kind of channel ("bsc"); settings of one family draw the same random numbers.
        name: family and parameters, unique among settings ("bsc-0.01").
        error_rate: expected share of bits received wrong or lost, in [0, 1].
    """

    family: str
    name: str
    error_rate: float

    @property
    def curve(self) -> str:
        """Name of the curve to which this setting belongs in a figure over error rates."""
        return self.family

    @property
    def by_frame(self) -> bool:
        """Whether `channel_bits` of a clip is the sum of those of its frames; so by default, as for plain bits."""
        return type(self).channel_bits is Channel.channel_bits

    @property
    def lost_share(self) -> float:
        """Part of `error_rate` that is lost: expected share of bits returned as 0.5; 0 by default."""
        return 0.0

    @property
    def delay_frames(self) -> int:
        """Frames by which a live link lags behind one that sends each frame at once, at most; 0 by default."""
        return 0

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for `frames` frames of `frame_bits` each, parity included."""
        return frames * frame_bits

    def sent_bits(self, bits: Tensor) -> int:
        """Bits sent for the payload uint8 `[F, n]` of one clip; by default `channel_bits`, which looks at its shape."""
        return self.channel_bits(*bits.shape)

    def with_known_error_rate(self) -> "Channel":
        """This channel with a receiver that knows its error rate; a channel made of others passes it on to them."""
        return KnownErrorRate(self)

    @abstractmethod
    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit bits.

        Args:
            bits: uint8 `[..., F, n]` of zeros and ones, n bits for each of F frames; channels that ignore frames take
                any shape.
            generator: on the CPU; source of all draws.

        Returns:
            The same shape on the device of `bits`: uint8 hard decisions, or float32 probabilities that each bit is a
            one, where exactly 0.5 means that the bit was lost.
        """


class ChannelAround(Channel):
    """A channel around another one, whose losses, delay and way of counting bits are its own.

    Attributes:
        channel: the one inside.
    """

    channel: Channel

    @property
    def lost_share(self) -> float:
        """That of the channel inside, of the bits that it is sent."""
        return self.channel.lost_share

    @property
    def delay_frames(self) -> int:
        """That of the channel inside, in frames."""
        return self.channel.delay_frames

    @property
    def by_frame(self) -> bool:
        """As the channel inside."""
        return self.channel.by_frame


class KnownErrorRate(ChannelAround):
    """A channel whose receiver knows its error rate p and states hard decisions as probabilities: p or 1 − p of a one.

    Probabilities that the channel itself returns, and lost bits, pass as they are. `Link.known_error_rate` puts it
    around the channel of an evaluation.

    >>> channel = KnownErrorRate(BinarySymmetricChannel(0.25))
    >>> channel(torch.tensor([0, 1, 1], dtype=torch.uint8), torch.Generator().manual_seed(0)).tolist()
    [0.25, 0.75, 0.75]

    Args:
        channel: whose `error_rate` is known. Behind bursts it is the mean rate: when they occur is not known.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.family, self.name, self.error_rate = channel.family, channel.name, channel.error_rate

    @property
    def curve(self) -> str:
        return self.channel.curve

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for `frames` frames of `frame_bits` each, parity included."""
        return self.channel.channel_bits(frames, frame_bits)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        received = self.channel(bits, generator)
        if received.is_floating_point() or self.error_rate == 0.0:
            return received
        return decision_probabilities(received, self.error_rate)


def decision_probabilities(decisions: Tensor, error_rate: float) -> Tensor:
    """float32 probabilities of a one, p or 1 − p, of hard decisions uint8 of which a share p is wrong.

    Exactly 0 or 1 for p of 0 and 1 alone: what would be rounded to them takes the nearest normal number inside (0, 1).
    """
    probabilities = torch.where(decisions > 0, 1.0 - error_rate, error_rate).float()
    return probabilities if error_rate in (0.0, 1.0) else uncertain(probabilities)


def uncertain(probabilities: Tensor) -> Tensor:
    """float32 probabilities inside (0, 1): what was rounded to 0 or 1 takes the nearest normal number inside."""
    limits = torch.finfo(torch.float32)
    return probabilities.clamp(limits.tiny, 1.0 - limits.eps / 2)


def check_frames(bits: Tensor) -> None:
    """InvalidValue unless bits have a frame axis, `[..., F, n]`."""
    if bits.ndim < 2:
        raise InvalidValue("bits of shape", list(bits.shape), "must be [..., F, n], one frame of n bits a row")


def check_share(name: str, value: float) -> float:
    """`value` as a float.

    Raises:
        InvalidValue: it is outside [0, 1]; the message calls it `name`.
    """
    if not 0.0 <= value <= 1.0:
        raise InvalidValue(name, value, "must lie in [0, 1]", "take 0.01")
    return float(value)


def decide(received: Tensor) -> tuple[Tensor, Tensor]:
    """Hard decisions and losses from a channel's output, of any shape.

    >>> decide(torch.tensor([0.2, 0.5, 0.9]))
    (tensor([0, 0, 1], dtype=torch.uint8), tensor([False,  True, False]))

    Returns:
        uint8 bits, and bool `lost`, True where a bit was lost (its decision is then 0).
    """
    if not received.is_floating_point():
        return received, torch.zeros_like(received, dtype=torch.bool)
    return (received > 0.5).to(torch.uint8), received == 0.5


def hard_if_certain(bits: Tensor) -> Tensor:
    """uint8 decisions where all probabilities are exactly 0 or 1; else the bits as they are."""
    return bits.to(torch.uint8) if bool(((bits == 0) | (bits == 1)).all()) else bits


def mark_lost(bits: Tensor, lost: Tensor) -> Tensor:
    """Bits or probabilities as float32, 0.5 where bool `lost`, broadcast to their shape, is True."""
    return bits.float().masked_fill(lost.to(bits.device), 0.5)
