"""The codes of 5G New Radio (3GPP TS 38.212) on short blocks: LDPC and polar codes, by sionna, with soft output."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn.functional import pad

from codec.channels.coding.base import ErrorCorrection
from codec.channels.coding.certainty import certain_ratios
from codec.channels.coding.sionna_parts import ldpc_parts, polar_parts
from codec.errors import InvalidValue

BLOCKS = 256  # decoded at a time
CRC_BITS = 11  # of polar codes in the uplink, for 20 payload bits or more
SUREST = 8.0  # ratio of a bit of a short LDPC code: what its belief propagation can be trusted with


class BlockCode(ErrorCorrection):
    """A linear binary code of blocks of k payload bits in n channel bits, a block after the other.

    The last block of a message is filled with zeros, which are sent like payload and count (`coded_length`): choose k
    as bits of a frame times frames of a packet. A block is sent when its last payload bit is there, and decoded when
    its last channel bit has arrived, which `ProtectedChannel.delay_frames` counts.

    Bits received with certainty, as over erasures, are decoded exactly: what follows from them is certain, by
    elimination over GF(2) (`certain_ratios`), and over erasures alone nothing else is known. Blocks with uncertain
    bits have the approximate posteriors of the subclass's `_soft_ratios`.
    """

    def __init__(self, payload: int, coded: int) -> None:
        self.payload_bits, self.coded_bits, self.rate = payload, coded, payload / coded
        self.block_bits = payload
        self._generator: Tensor | None = None

    @abstractmethod
    def _encode_blocks(self, bits: Tensor) -> Tensor:
        """Encode uint8 `[B, k]` on the CPU to uint8 `[B, n]`."""

    @abstractmethod
    def _soft_ratios(self, llrs: Tensor) -> Tensor:
        """Approximate log P(0)/P(1) of payload bits, finite float64 `[B, k]`, from finite ones on the CPU `[B, n]`."""

    def coded_length(self, length: int) -> int:
        return self.coded_bits * -(-length // self.payload_bits)

    def order(self, length: int) -> tuple[Tensor, Tensor]:
        blocks = torch.arange(-(-length // self.payload_bits))
        needed = ((blocks + 1) * self.payload_bits).clamp(max=length) - 1
        last = (blocks + 1) * self.coded_bits - 1
        return needed.repeat_interleave(self.coded_bits), last.repeat_interleave(self.payload_bits)[:length]

    def _encode(self, bits: Tensor) -> Tensor:
        blocks = pad(bits, (0, -bits.shape[1] % self.payload_bits)).unflatten(1, (-1, self.payload_bits)).flatten(0, 1)
        parts = [self._encode_blocks(part) for part in blocks.cpu().split(BLOCKS)]
        return torch.cat(parts).view(len(bits), -1).to(bits.device)

    def _payload_llrs(self, llrs: Tensor, length: int) -> Tensor:
        blocks = llrs.cpu().unflatten(1, (-1, self.coded_bits)).flatten(0, 1)  # [B * blocks, n]
        ratios = torch.cat([self._block_ratios(part) for part in blocks.split(BLOCKS)])
        return ratios.view(len(llrs), -1)[:, :length].to(llrs.device)

    def _block_ratios(self, llrs: Tensor) -> Tensor:
        certain = llrs.isinf()
        ratios = llrs.new_zeros(len(llrs), self.payload_bits)
        some = certain.any(1)
        if bool(some.any()):
            if self._generator is None:
                self._generator = self._encode_blocks(torch.eye(self.payload_bits, dtype=torch.uint8))
            ratios[some] = certain_ratios(self._generator, llrs[some])
        soft = (~certain & (llrs != 0)).any(1) & ~ratios.isnan().any(1)
        if bool(soft.any()):
            limit = 40.0  # beyond what either decoder works with
            with torch.no_grad():
                found = self._soft_ratios(llrs[soft].clamp(-limit, limit))
            ratios[soft] = torch.where(ratios[soft].isinf(), ratios[soft], found)
        return ratios


class LDPC5G(BlockCode):
    """The LDPC codes of 5G (3GPP TS 38.212, sections 5.3.2 and 5.4.2) on blocks of `block_bits`, without a CRC.

    Base graph and lifting size are the standard's for the block's length and rate; redundancy version 0, no bit
    interleaver, which binary channels do not need. The decoder is belief propagation with the exact check-node rule,
    flooding, for a fixed number of iterations, with ratios within ±20. Its posteriors sum over the code's graph as if
    it were a tree: on blocks as short as these they are too sure by far where they are sure (64 bits behind 6 % flips:
    bits said to be wrong once in two millions were wrong once in 4,000), so ratios are limited to ±8, an error of
    3e-4; with that, they expect about half of the errors made.

    Delay: that of a block (`block_delay`), 2 (K − 1) frames for blocks of K whole frames, besides the interleaver's.

    >>> LDPC5G(64, rate=0.5).coded_length(65)
    256

    Args:
        block_bits: k, payload bits of a block, 12 to 8448: bits of a frame times frames of a packet.
        rate: k / n, from 1/5 to 0.92; n is rounded to the nearest number of bits.
        iterations: of belief propagation.

    Raises:
        InvalidValue: a number is out of range.
        MissingDependency: at first use, without sionna.
    """

    def __init__(self, block_bits: int = 64, *, rate: float = 0.5, iterations: int = 20) -> None:
        if not 12 <= block_bits <= 8448:
            raise InvalidValue("block_bits", block_bits, "must lie in 12 to 8448 for a 5G LDPC code", "take 64")
        if not 0.2 <= rate <= 0.92:
            raise InvalidValue("rate", rate, "must lie in 0.2 to 0.92 for a 5G LDPC code", "take 0.5")
        if block_bits > 3824 and rate < 1 / 3:
            raise InvalidValue("rate", rate, "must be at least 1/3 for more than 3824 payload bits", "take 0.5")
        if iterations < 1:
            raise InvalidValue("iterations", iterations, "must be at least 1", "take 20")
        super().__init__(block_bits, min(round(block_bits / rate), 5 * block_bits))
        self.iterations = iterations
        self.name = f"ldpc5g-{block_bits}-{self.coded_bits}"
        if iterations != 20:
            self.name += f"-iterations{iterations}"

    def _encode_blocks(self, bits: Tensor) -> Tensor:
        return ldpc_parts(self.payload_bits, self.coded_bits, self.iterations).encode(bits)

    def _soft_ratios(self, llrs: Tensor) -> Tensor:
        return ldpc_parts(self.payload_bits, self.coded_bits, self.iterations).decode(llrs).clamp(-SUREST, SUREST)


class Polar5G(BlockCode):
    """The polar codes of 5G's uplink (3GPP TS 38.212, sections 5.3.1, 5.4.1 and 6.3.1), with their CRC of 11 bits.

    The decoder is CRC-aided successive-cancellation list decoding (Tal and Vardy 2015). Each path u in its list has
    the probability w(u) ∝ P(u | received), which its metric states (Balatsoukas-Stimming et al. 2015, eq. 10); W is
    their sum over the list. Bits get soft values from the list alone:

    - P(d = 1) = (Σ w(u) [d(u) = 1] + 2⁻¹¹ W / 2) / (Σ w(u) + 2⁻¹¹ W), with both sums over the paths whose CRC agrees.
      2⁻¹¹ W stands for the codewords outside of the list, taken to be as probable as all paths in it, of which a share
      of 2⁻¹¹ passes the CRC by chance;
    - where no CRC agrees, the payload sent is none of the list: P(d = 1) = (Σ w(u) [d(u) = 1] + W) / 3 W over all
      paths, which never leaves 1/3 to 2/3.

    Delay: that of a block (`block_delay`), 2 (K − 1) frames for blocks of K whole frames, besides the interleaver's.

    >>> Polar5G(64, rate=0.5).name
    'polar5g-64-128-list8'

    Args:
        block_bits: k, payload bits of a block without CRC, 20 to 1013. Below 20 the standard adds parity-check bits,
            which sionna does not have.
        rate: k / n; n is rounded to the nearest number of bits, k + 11 to 1088. The CRC is parity: it counts in n.
        list_size: paths that the decoder keeps, a power of 2.

    Raises:
        InvalidValue: a number is out of range.
        MissingDependency: at first use, without sionna.
    """

    def __init__(self, block_bits: int = 64, *, rate: float = 0.5, list_size: int = 8) -> None:
        if not 20 <= block_bits <= 1013:
            raise InvalidValue("block_bits", block_bits, "must lie in 20 to 1013 for a 5G polar code", "take 64")
        coded = round(block_bits / rate) if rate > 0 else 0
        if not block_bits + CRC_BITS <= coded <= 1088:
            allowed = f"must give {block_bits + CRC_BITS} to 1088 channel bits for {block_bits} payload bits"
            raise InvalidValue("rate", rate, allowed, "take 0.5, or another block_bits")
        if list_size < 2 or list_size & list_size - 1:
            raise InvalidValue("list_size", list_size, "must be a power of 2, at least 2", "take 8")
        super().__init__(block_bits, coded)
        self.list_size = list_size
        self.name = f"polar5g-{block_bits}-{coded}-list{list_size}"

    def _encode_blocks(self, bits: Tensor) -> Tensor:
        return polar_parts(self.payload_bits, self.coded_bits, self.list_size).encode(bits)

    def _soft_ratios(self, llrs: Tensor) -> Tensor:
        found = polar_parts(self.payload_bits, self.coded_bits, self.list_size).decode(llrs)
        weights = (-found.metrics).softmax(1)  # [B, L], W = 1
        passed = found.checks.any(1, keepdim=True)
        counted = torch.where(passed, weights * found.checks, weights)  # [B, L]
        outside = torch.where(passed, 2.0**-CRC_BITS, 2.0)
        ones = (counted[..., None] * found.payloads).sum(1)
        zeros = (counted[..., None] * (1 - found.payloads.double())).sum(1)
        return ((zeros + outside / 2) / (ones + outside / 2)).log()
