"""The channel that a codec is trained through: what it delivers for a batch's codes, and what of it learns."""

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn
from torch import Tensor, nn

from codec.channels import Channel
from codec.channels.link import Connection, Link
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.training.alternating import frozen


class TrainingChannel:
    """Sends codes and returns the latents received, drawn anew at each call from torch's global generator.

    Args:
        codec: whose codes are sent; its `conditioning` is told what was received.
        channel: to send them through.
        link: index map, concealment and error correction around the channel.
    """

    def __init__(self, codec: NeuralCodec, channel: Channel, link: Link | None) -> None:
        self.codec, self.channel, self.link = codec, channel, link or Link()
        self._connection: Connection | None = None
        self._codewords: list[Tensor] | None = None
        self._told = False  # whether a batch has been sent

    def codewords(self) -> list[Tensor] | None:
        """Of each codebook, int64 `[size]`, as fitted at the first batch; None before it. For a checkpoint."""
        return self._codewords

    def keep(self, codewords: list[Tensor] | None) -> None:
        """Go on with the codewords of a checkpoint: a map fitted anew to codebooks that have moved would be another."""
        self._connection, self._codewords = None, codewords

    def __call__(self, codes: Tensor) -> Tensor:
        """Latents `[B, D, F]` received for codes int64 `[B, K, F]`.

        They have a gradient to what the channel learns (`LearnedFlips`) and to the codec's `conditioning`.
        """
        if self._connection is None:
            self._connection = Connection(self.link, self.codec.quantizer, self._codewords)
            self._codewords = self._connection.codewords
        generator = torch.Generator().manual_seed(int(torch.randint(2**62, ())))
        learns = isinstance(self.channel, nn.Module)
        with torch.set_grad_enabled(learns), frozen(self.codec.quantizer):  # which learns from the latents before it
            reception = self._connection.carry(codes, self.channel, generator)
            latents = self._connection.latents(reception)
        if learns and torch.is_grad_enabled() and not latents.requires_grad:
            name, concealment = type(self.channel).__name__, type(self._connection.concealment).__name__
            allowed = f"learns nothing behind {concealment}, whose latents have no gradient to it"
            raise InvalidValue(f"channel {name}", allowed=allowed, remedy="set link.concealment to codec.PosteriorMean")
        if self.codec.conditioning is not None and not self._told and not reception.bits.is_floating_point():
            rank_zero_warn(
                "The codec's conditioning learns nothing from hard decisions of unknown quality: take a channel that "
                "returns probabilities, or set link.known_error_rate to true."
            )
        self._told = True
        return self.codec.condition(latents, reception.bits)


def training_channel(codec: NeuralCodec, channel: Channel | None, link: Link | None) -> TrainingChannel | None:
    """The channel of a codec in training; None without one.

    Raises:
        InvalidValue: the codec has `conditioning` that is to learn, but no channel from which.
    """
    if channel is not None:
        if _learns(channel) and not isinstance(channel, nn.Module):
            remedy = "make codec.LearnedFlips the channel itself"
            raise InvalidValue("channel", channel.name, "holds a channel that learns, and cannot train it", remedy)
        if _learns(channel) and link is not None and (link.code is not None or link.known_error_rate):
            remedy = "set link.code to null and link.known_error_rate to false"
            raise InvalidValue(
                "channel", channel.name, "cannot learn behind error correction or a known error rate", remedy
            )
        return TrainingChannel(codec, channel, link)
    if codec.conditioning is not None and any(p.requires_grad for p in codec.conditioning.parameters()):
        remedy = "name a channel, or set codec.conditioning to null"
        raise InvalidValue("codec.conditioning", allowed="learns nothing without a channel", remedy=remedy)
    return None


def _learns(channel: Channel) -> bool:
    """Whether a channel, or one inside it, has weights."""
    inner = [getattr(channel, "channel", None), *getattr(channel, "channels", ())]
    return isinstance(channel, nn.Module) or any(_learns(part) for part in inner if part is not None)
