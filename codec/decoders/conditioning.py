"""Tells a decoder how good the channel was: what it adds to received latents whose bits are uncertain."""

from torch import Tensor, nn

from codec.errors import InvalidValue
from codec.layers.construction import Constructed


class ChannelConditioning(Constructed, nn.Module):
    """Adds to the latents of a frame a learned function of how uncertain each of its received bits is.

    The uncertainty of a bit that is a one with probability P is u = 1 − |2P − 1|: 0 for a bit that is certain, 2p for a
    hard decision whose error rate p is known, 1 for a lost bit. A frame's latents become z + W₂ gelu(W₁ u), without
    biases, so that a frame received with certainty is decoded exactly as without this part; W₂ starts at zero. It
    learns where a codec is trained through a channel that returns probabilities (`channel` of `CodecModule`).

    Args:
        dim: latent width D.
        bits: n, bits of a frame.
        width: of the hidden layer.

    Raises:
        InvalidValue: a number below 1; when called, bits of another number.
    """

    def __init__(self, dim: int, bits: int = 16, *, width: int = 64) -> None:
        super().__init__()
        for name, number in (("dim", dim), ("bits", bits), ("width", width)):
            if number < 1:
                raise InvalidValue(name, number, "must be at least 1")
        self.dim, self.bits = dim, bits
        self.inner = nn.Linear(bits, width, bias=False)
        self.outer = nn.Linear(width, dim, bias=False)
        nn.init.zeros_(self.outer.weight)

    def check_fits(self, dim: int, bits: int) -> None:
        """Raise InvalidValue unless it is for a codec of this latent width and number of bits a frame."""
        if (self.dim, self.bits) != (dim, bits):
            allowed = f"has dim {self.dim} and bits {self.bits}, the codec {dim} and {bits}"
            raise InvalidValue("conditioning", None, allowed, "set its `dim` and `bits` to these")

    def forward(self, latents: Tensor, bits: Tensor) -> Tensor:
        """Latents `[B, D, F]` told of the received bits `[B, F, n]`: uint8 decisions or probabilities of a one."""
        if bits.shape[-1] != self.bits:
            raise InvalidValue("conditioning.bits", self.bits, f"must be the {bits.shape[-1]} bits of a frame")
        uncertain = 1.0 - (2.0 * bits.float() - 1.0).abs()  # [B, F, n]
        return latents + self.outer(nn.functional.gelu(self.inner(uncertain))).transpose(1, 2)  # [B, D, F]
