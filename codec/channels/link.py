"""The link around a channel: index assignment, error correction and concealment, codes to bits to latents."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from codec.channels.base import Channel, decide
from codec.channels.bitstream import bits_to_codes, codes_to_bits
from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.protection import ProtectedChannel
from codec.channels.digit_bits import DigitBits, digit_bits
from codec.channels.displacements import bit_displacements
from codec.channels.entropy_coding import EntropyCode, EntropyCodedChannel
from codec.channels.index_maps import IndexMap, NaturalMap, code_table
from codec.channels.receiving.concealment import Concealment, MeanLatent
from codec.channels.receiving.priors import CodePrior
from codec.channels.receiving.reception import Reception
from codec.errors import InvalidValue
from codec.quantizers.base import LARGEST_TABLE, Quantizer, joint_probabilities
from codec.quantizers.codes import code_bits

__all__ = ["Connection", "Link", "bit_displacements"]


@dataclass(frozen=True)
class Link:
    """The parts around a channel; by default natural binary codewords, sent unprotected, and means for what is lost.

    Attributes:
        index_map: codeword of each code; None for natural binary.
        concealment: makes latents of what was received; None for `MeanLatent`.
        code: error-correcting code around the channel; None sends the bits unprotected.
        protected_bits: positions, from 0, of the bits of a frame that the code protects; or a number n, for the n bits
            whose flips displace the latent most (see `bit_displacements`); None for all.
        interleave: frames over which the coded bits are interleaved; 1 for none.
        prior: measured probabilities of the codes, for concealment; None for equally likely ones.
        known_error_rate: the receiver knows the channel's error rate, so that hard decisions become probabilities,
            which `PosteriorMean` with a prior weighs against what the codes make likely (see `KnownErrorRate`). Behind
            a `code` it always knows it.
        entropy_code: sends arithmetic-coded packets in place of fixed-length codewords; not together with a `code`.
    """

    index_map: IndexMap | None = None
    concealment: Concealment | None = None
    code: ErrorCorrection | None = None
    protected_bits: list[int] | int | None = None
    interleave: int = 1
    prior: CodePrior | None = None
    known_error_rate: bool = False
    entropy_code: EntropyCode | None = None

    def connect(self, quantizer: Quantizer) -> "Connection":
        """Fit the parts to a codec's quantizer.

        Raises:
            InvalidValue: a part does not fit the quantizer, or the options do not go together.
        """
        return Connection(self, quantizer)


class Connection:
    """A link fitted to one quantizer: sender and receiver.

    Attributes:
        widths: bits of each codebook's codewords.
        bits_per_frame: n, their sum.
        code: error correction, fitted to the bits that it protects; None without.
        packet_coder: entropy coder, fitted to the codes; None without.
        codewords: of each codebook, int64 `[size]`; empty for natural binary, which needs no table.
        protected_positions: bits of a frame that the code protects; None for all.
    """

    def __init__(self, link: Link, quantizer: Quantizer, codewords: Sequence[Tensor] | None = None) -> None:
        self.link, self.quantizer = link, quantizer
        self.index_map = link.index_map or NaturalMap()
        self.concealment = link.concealment or MeanLatent()
        self.prior = link.prior
        if self.prior is not None:
            self.prior.check(quantizer)
        self.widths = code_bits(quantizer.codebook_sizes)
        self.bits_per_frame = sum(self.widths)
        self._codeword_counts = [2**width for width in self.widths]
        codebooks = range(0 if type(self.index_map) is NaturalMap else len(self.widths))
        fitted = codewords is None  # else kept from a connection of the same link
        self.codewords = (
            [self.index_map.codeword_table(quantizer, k) for k in codebooks] if fitted else list(codewords or ())
        )
        self._code_tables = [code_table(*pair) for pair in zip(self.codewords, self._codeword_counts, strict=False)]
        self._digits = digit_bits(self.codewords, quantizer)
        self._moved_digits: dict[torch.device, list[list[DigitBits]]] = {}
        self.concealment.check(self)
        self.packet_coder = link.entropy_code.fitted(quantizer, link.code) if link.entropy_code is not None else None
        self.protected_positions = self._protected_bits()
        self.code = link.code.fitted(self._protected_displacements) if link.code is not None else None
        coded = self.bits_per_frame if self.protected_positions is None else len(self.protected_positions)
        if self.code is not None and self.code.period not in (1, coded):
            allowed = f"is for frames of {self.code.period} bits, the link protects {coded} a frame"
            raise InvalidValue(f"code {self.code.name}", allowed=allowed, remedy="give each of them a code")

    @property
    def delay_frames(self) -> int:
        """Frames of look-ahead of the concealment, without the channel's delay; of a whole clip it is not counted."""
        return self.concealment.delay(self)

    @property
    def keeps_digits_apart(self) -> bool:
        """Whether a codeword keeps the bits of its digits apart."""
        return self._digits is not None

    def send(self, codes: Tensor) -> Tensor:
        """Codes int64 `[B, K, F]` to bits uint8 `[B, F, n]`."""
        if self.codewords:
            codewords = [table.to(codes.device)[codes[:, k]] for k, table in enumerate(self.codewords)]
            bits = codes_to_bits(torch.stack(codewords, 1), self._codeword_counts)
        else:
            bits = codes_to_bits(codes, self.quantizer.codebook_sizes)
        return bits.unflatten(1, (-1, self.bits_per_frame))

    def receive(self, bits: Tensor) -> Reception:
        """Received bits or probabilities `[B, F, n]` to codes, erased where a bit is lost or no code fits."""
        decisions, lost = decide(bits)
        incomplete = [part.any(-1) for part in lost.split(self.widths, -1)]
        if self.codewords:
            codewords = bits_to_codes(decisions.flatten(1), self._codeword_counts).codes
            tables = [table.to(bits.device) for table in self._code_tables]
            codes = torch.stack([table[codewords[:, k]] for k, table in enumerate(tables)], 1)  # [B, K, F]
            erased = codes < 0
        else:
            codes, erased = bits_to_codes(decisions.flatten(1), self.quantizer.codebook_sizes)
        erased = erased | torch.stack(incomplete, 1)
        return Reception(codes.masked_fill(erased, 0), erased, bits)

    def decode(self, codes: Tensor, erased: Tensor) -> Tensor:
        """Latents float32 `[B, D, F]` of codes int64 `[B, K, F]`, where an erased code contributes its mean.

        The mean is that of the prior, or of equally likely codes; it has no gradient.
        """
        latents = self.quantizer.decode(codes, erased)
        means, steps = self.digit_means(latents.device), []
        with torch.no_grad():
            zero = self.quantizer.decode(torch.zeros_like(codes[:1, :, :1]), torch.ones_like(erased[:1, :, :1]))
            for k in range(codes.shape[1]):
                alone = [means[k] if other == k else None for other in range(codes.shape[1])]
                step = self.quantizer.decode_digits(alone) - zero  # [1, D, 1]
                steps.append(step * erased[:, k : k + 1])
        return latents + torch.stack(steps).sum(0)

    def digit_means(self, device: torch.device) -> list[list[Tensor]]:
        """P(value) `[1, 1, L]` of each digit of each codebook: the prior's, or equal."""
        if self.prior is not None:
            return [[p.to(device)[None, None] for p in digits] for digits in self.prior.histograms]
        sizes = self.quantizer.digits
        return [[torch.full((1, 1, size), 1 / size, device=device) for size in digits] for digits in sizes]

    def latents(self, reception: Reception) -> Tensor:
        """Latents for the decoder, `[B, D, F]`, with losses concealed."""
        return self.concealment(self, reception)

    def transmit(self, codes: Tensor, channel: Channel, generator: torch.Generator) -> Tensor:
        """Latents `[B, D, F]` received for codes int64 `[B, K, F]`: `carry` and `latents` in turn."""
        return self.latents(self.carry(codes, channel, generator))

    def carry(self, codes: Tensor, channel: Channel, generator: torch.Generator) -> Reception:
        """What is received of codes int64 `[B, K, F]`: `send`, `protect` and `receive` in turn.

        Bits are sent on the host, where channels draw, so that the device is waited for once, for the codes.
        """
        bits = self.protect(channel)(self.send(codes.cpu()), generator)
        return Reception(*(part.to(codes.device, non_blocking=True) for part in self.receive(bits)))

    def code_probabilities(self, bits: Tensor) -> list[Tensor]:
        """P(code | bits) of each codebook, float32 `[B, F, size]`, for bits or probabilities `[B, F, n]`.

        P(code | bits) is proportional to P(code) Π P(bit of the code's codeword), with P(code) from the prior's
        histograms, or equal, and bits as independent. Codewords without a code are ruled out. Where every code has
        probability zero, all are equally likely.

        Raises:
            InvalidValue: a codebook has more than 2^20 entries.
        """
        largest = max(self.quantizer.codebook_sizes)
        if largest > LARGEST_TABLE:
            raise InvalidValue(
                f"A codebook of {largest} entries",
                allowed=f"is too large for their probabilities, {LARGEST_TABLE} at most",
                remedy="use hard decisions",
            )
        found = []
        for k, part in enumerate(bits.float().split(self.widths, -1)):
            likelihood = part.new_ones(*part.shape[:-1], 1)
            for one in part.unbind(-1):  # high bit first: each bit doubles the number of codewords
                likelihood = (likelihood[..., None] * torch.stack((1 - one, one), -1)[..., None, :]).flatten(-2)
            size = self.quantizer.codebook_sizes[k]
            likelihood = likelihood[..., self.codewords[k].to(bits.device) if self.codewords else slice(size)]
            if self.prior is not None:
                likelihood = likelihood * joint_probabilities(self.prior.histograms[k]).to(likelihood)
            total = likelihood.sum(-1, keepdim=True)
            found.append(torch.where(total > 0, likelihood / total.clamp_min(torch.finfo(total.dtype).tiny), 1 / size))
        return found

    def digit_likelihoods(self, bits: Tensor) -> list[list[Tensor]] | None:
        """P(bits | value) of each digit of each codebook, float64 `[B, F, L]`, up to a factor; bits are independent.

        None where a codeword does not keep the bits of its digits apart: a random permutation of whole codewords of
        FSQ, or digits whose number of values is no power of two.
        """
        if self._digits is None:
            return None
        found = []
        for part, digits in zip(bits.double().split(self.widths, -1), self._digits_at(bits.device), strict=True):
            found.append([digit.likelihoods(part) for digit in digits])
        return found

    def digit_decisions(self, bits: Tensor) -> list[list[tuple[Tensor, Tensor]]] | None:
        """Value int64 `[B, F]` of each digit of each codebook, and bool `[B, F]`, True where one of its bits is lost.

        None where a codeword does not keep the bits of its digits apart.
        """
        if self._digits is None:
            return None
        parts = bits.split(self.widths, -1)
        moved = self._digits_at(bits.device)
        return [[digit.decide(part) for digit in digits] for part, digits in zip(parts, moved, strict=True)]

    def _digits_at(self, device: torch.device) -> list[list[DigitBits]]:
        """The digits' bits with their tables on a device, moved there once."""
        if device not in self._moved_digits:
            self._moved_digits[device] = [[digit.at(device) for digit in digits] for digits in self._digits or ()]
        return self._moved_digits[device]

    def protect(self, channel: Channel) -> Channel:
        """The channel behind this link's error correction or entropy coding; the channel itself where there is none."""
        link = self.link
        if link.known_error_rate:
            channel = channel.with_known_error_rate()
        if self.packet_coder is not None:
            return EntropyCodedChannel(channel, self.packet_coder, self)
        if self.code is None:
            return channel
        bits, n = self.protected_positions, self.bits_per_frame
        return ProtectedChannel(channel, self.code, protected_bits=bits, interleave=link.interleave, frame_bits=n)

    def bit_groups(self) -> dict[str, list[int]]:
        """Named groups of bit positions in a frame: the bits of each codebook, if there are several, and of each digit.

        A digit is a level of FSQ, named "dimension"; it has bits of its own where `digit_likelihoods` has a value.
        """
        groups, start = {}, 0
        for k, width in enumerate(self.widths):
            prefix = f"codebook {k}, " if len(self.widths) > 1 else ""
            if prefix:
                groups[f"codebook {k}"] = list(range(start, start + width))
            digits = self._digits[k] if self._digits is not None else []
            for i, digit in enumerate(digits if len(digits) > 1 else ()):
                groups[f"{prefix}dimension {i}"] = [start + position for position in digit.positions]
            start += width
        return groups

    def _protected_displacements(self) -> Tensor:
        """Displacement of the latent by a flip of each protected bit, float64."""
        displacements = self._displacements()
        return displacements if self.protected_positions is None else displacements[self.protected_positions]

    def _displacements(self) -> Tensor:
        """Displacement of the latent by a flip of each bit, float64 `[n]`; refused where latents have no distances."""
        if not self.quantizer.averages:
            remedy = "name the positions (`protected_bits`), or give a file of sensitivities"
            raise InvalidValue("An order of bits", None, "needs latents, of which an external codec has none", remedy)
        return bit_displacements(self)

    def _protected_bits(self) -> list[int] | None:
        """Positions that the code protects, or None for all, from the link's options."""
        chosen, count, interleave = self.link.protected_bits, self.bits_per_frame, self.link.interleave
        if interleave < 1:
            raise InvalidValue("interleave", interleave, "must be at least 1 frame, which is no interleaving")
        if self.link.code is None and (chosen is not None or interleave > 1):
            raise InvalidValue(
                f"protected_bits {chosen} and interleave {interleave}",
                allowed="need a code",
                remedy="name one, for example codec.ConvolutionalCode",
            )
        if isinstance(chosen, bool):
            raise InvalidValue("protected_bits", chosen, "must be a number of bits, positions, or null for all")
        if isinstance(chosen, int):
            if not 1 <= chosen <= count:
                raise InvalidValue("protected_bits", chosen, f"must be 1 to {count}, the bits of a frame")
            return sorted(self._displacements().argsort(descending=True, stable=True)[:chosen].tolist())
        if chosen is not None and (
            not chosen or min(chosen) < 0 or max(chosen) >= count or len(set(chosen)) < len(chosen)
        ):
            raise InvalidValue(
                "protected_bits", chosen, f"must be different positions from 0 to {count - 1} in a frame"
            )
        return chosen
