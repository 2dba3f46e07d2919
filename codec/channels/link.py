"""How codes travel: index map, error correction and concealment around a codec, from codes to bits to latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codec.channels.base import Channel, decide
from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.protection import ProtectedChannel
from codec.channels.concealment import Concealment, ZeroLatent
from codec.channels.index_maps import GrayMap, IndexMap, NaturalMap
from codec.channels.reception import Reception
from codec.quantizers.base import LARGEST_TABLE, Quantizer
from codec.quantizers.codes import code_bits


@dataclass(frozen=True)
class Link:
    """The parts around a channel. The plain one sends natural binary words, unprotected, and zeroes what is lost.

    Attributes:
        index_map: word of each code; None for natural binary.
        concealment: latents of what was received; None for zeros.
        code: error-correcting code around the channel; None sends the bits as they are.
        protected_bits: positions in a frame that the code protects; or a number: that many of the most sensitive, by
            the displacement of the latent (see `bit_displacements`); None for all.
        interleave: frames over which channel bits are spread, 1 for none.
    """

    index_map: IndexMap | None = None
    concealment: Concealment | None = None
    code: ErrorCorrection | None = None
    protected_bits: list[int] | int | None = None
    interleave: int = 1

    def connect(self, quantizer: Quantizer) -> "Connection":
        """Fit the parts to a codec's quantizer; raises ValueError where a part does not fit it."""
        return Connection(self, quantizer)


class Connection:
    """A link fitted to one quantizer."""

    def __init__(self, link: Link, quantizer: Quantizer) -> None:
        self.link, self.quantizer = link, quantizer
        self.index_map = link.index_map or NaturalMap()
        self.concealment = link.concealment or ZeroLatent()
        self.widths = code_bits(quantizer.codebook_sizes)
        self.bits_per_frame = sum(self.widths)
        self._word_counts = [2**width for width in self.widths]
        natural = type(self.index_map) is NaturalMap
        books = range(len(self.widths))
        self.words = [] if natural else [self.index_map.table(quantizer, k) for k in books]
        self._codes = [_inverse(words, count) for words, count in zip(self.words, self._word_counts, strict=False)]
        self._protected = self._chosen_bits()

    def send(self, codes: Tensor) -> Tensor:
        """Codes int64 `[B, K, F]` to bits uint8 `[B, F, n]`."""
        if self.words:
            words = [table.to(codes.device)[codes[:, k]] for k, table in enumerate(self.words)]
            bits = codes_to_bits(torch.stack(words, 1), self._word_counts)
        else:
            bits = codes_to_bits(codes, self.quantizer.codebook_sizes)
        return bits.unflatten(1, (-1, self.bits_per_frame))

    def receive(self, bits: Tensor) -> Reception:
        """Received bits or probabilities `[B, F, n]` to codes."""
        decisions, lost = decide(bits)
        missing = [part.any(-1) for part in lost.split(self.widths, -1)]
        if self.words:
            words = bits_to_codes(decisions.flatten(1), self._word_counts).codes
            found = torch.stack([table.to(bits.device)[words[:, k]] for k, table in enumerate(self._codes)], 1)
            erased = found < 0
        else:
            found, erased = bits_to_codes(decisions.flatten(1), self.quantizer.codebook_sizes)
        erased = erased | torch.stack(missing, 1)
        return Reception(found.masked_fill(erased, 0), erased, bits)

    def latents(self, reception: Reception) -> Tensor:
        """Latents for the decoder, `[B, D, F]`, with what was lost concealed."""
        return self.concealment(self, reception)

    def plain_latents(self, bits: Tensor) -> Tensor:
        """Latents `[B, D, F]` of bits `[B, F, n]` without concealment."""
        reception = self.receive(bits)
        return self.quantizer.decode(reception.codes, reception.erased)

    def code_probabilities(self, bits: Tensor) -> list[Tensor]:
        """P(code | bits) of each codebook, float32 `[B, F, size]`, for bits or probabilities `[B, F, n]`.

        Codes are taken as equally likely beforehand and bits as independent; words without a code are ruled out. Where
        no code fits, all are equally likely.

        Raises:
            ValueError: a codebook has more than 2^20 entries.
        """
        largest = max(self.quantizer.codebook_sizes)
        if largest > LARGEST_TABLE:
            raise ValueError(
                f"A codebook of {largest} entries is too large for their probabilities, {LARGEST_TABLE} at most: "
                "use hard decisions."
            )
        found = []
        for k, part in enumerate(bits.float().split(self.widths, -1)):
            likely = part.new_ones(*part.shape[:-1], 1)
            for one in part.unbind(-1):  # high bit first: each bit doubles the number of words
                likely = (likely[..., None] * torch.stack((1 - one, one), -1)[..., None, :]).flatten(-2)
            size = self.quantizer.codebook_sizes[k]
            likely = likely[..., self.words[k].to(bits.device)] if self.words else likely[..., :size]
            total = likely.sum(-1, keepdim=True)
            found.append(torch.where(total > 0, likely / total.clamp_min(1e-30), 1 / size))
        return found

    def protect(self, channel: Channel) -> Channel:
        """The channel behind this link's error correction; the channel itself where there is none."""
        link = self.link
        if link.code is None:
            return channel
        return ProtectedChannel(channel, link.code, protected_bits=self._protected, interleave=link.interleave)

    def bit_groups(self) -> dict[str, list[int]]:
        """Positions in a frame of what belongs together: the bits of each codebook and, where words keep them apart, of
        each digit of a code, an FSQ dimension.
        """
        groups, start = {}, 0
        for k, (width, digits) in enumerate(zip(self.widths, self.quantizer.digits, strict=True)):
            if len(self.widths) > 1:
                groups[f"codebook {k}"] = list(range(start, start + width))
            separate = isinstance(self.index_map, NaturalMap | GrayMap) and not any(d & (d - 1) for d in digits)
            place = start + width  # words are written high bit first, digits count from the low end
            for i, digit in enumerate(digits if separate and len(digits) > 1 else ()):
                bits = digit.bit_length() - 1
                before = f"codebook {k}, " if len(self.widths) > 1 else ""
                groups[f"{before}dimension {i}"] = list(range(place - bits, place))
                place -= bits
            start += width
        return groups

    def _chosen_bits(self) -> list[int] | None:
        chosen, count = self.link.protected_bits, self.bits_per_frame
        if self.link.interleave < 1:
            raise ValueError(f"interleave {self.link.interleave} must be at least 1 frame, which is no interleaving.")
        if self.link.code is None and (chosen is not None or self.link.interleave > 1):
            raise ValueError(
                f"protected_bits {chosen} and interleave {self.link.interleave} need a code: name one, for example "
                "codec.ConvolutionalCode."
            )
        if isinstance(chosen, bool):
            raise ValueError(f"protected_bits {chosen} must be a number of bits, positions, or null for all.")
        if isinstance(chosen, int):
            if not 1 <= chosen <= count:
                raise ValueError(f"protected_bits {chosen} must be 1 to {count}, the bits of a frame.")
            return sorted(bit_displacements(self).argsort(descending=True, stable=True)[:chosen].tolist())
        if chosen is not None and (
            not chosen or min(chosen) < 0 or max(chosen) >= count or len(set(chosen)) < len(chosen)
        ):
            raise ValueError(f"protected_bits {chosen} must be different positions from 0 to {count - 1} in a frame.")
        return chosen


def bit_displacements(connection: Connection, codes: Tensor | None = None) -> Tensor:
    """Mean squared displacement of the latent when a bit of the frame is flipped, over the latent's variance.

    Args:
        connection: link and quantizer.
        codes: int64 `[B, K, F]` to flip bits of; 4096 frames of equally likely codes by default.

    Returns:
        float64 `[n]` on the CPU, for each bit of the frame. A flip that makes an invalid word counts as an erasure.
    """
    quantizer = connection.quantizer
    if codes is None:
        generator = torch.Generator().manual_seed(0)
        sizes: Sequence[int] = quantizer.codebook_sizes
        codes = torch.stack([torch.randint(size, (1, 4096), generator=generator) for size in sizes], 1)
    bits = connection.send(codes.to(quantizer.device))
    with torch.no_grad():
        sent = connection.plain_latents(bits).double()
        power = (sent - sent.mean((0, 2), keepdim=True)).square().sum(1).mean().clamp_min(1e-30)
        moved = []
        for bit in range(connection.bits_per_frame):
            flipped = bits.clone()
            flipped[..., bit] ^= 1
            received = connection.plain_latents(flipped).double()
            moved.append(((received - sent).square().sum(1).mean() / power).item())
    return torch.tensor(moved, dtype=torch.float64)


def _inverse(words: Tensor, count: int) -> Tensor:
    """Code of each word, −1 where there is none: int64 `[count]`."""
    codes = torch.full((count,), -1)
    codes[words] = torch.arange(len(words))
    return codes
