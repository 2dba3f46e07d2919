"""A channel behind forward error correction, for all bits of a frame or for some (unequal error protection)."""

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from codec.channels.base import Channel, check_frames, decision_probabilities, hard_if_certain
from codec.channels.coding.base import ErrorCorrection
from codec.errors import InvalidValue

DEEPEST = 10_000  # frames of an interleaver


class ProtectedChannel(Channel):
    """Encodes payload bits, sends them through a channel and decodes what is received.

    The protected bits of all F frames of a clip, in order, are one message of the code, of M coded bits (termination
    and padding included). They are spread evenly over the frames: the inner channel gets `[B, F, m]`, where row f holds
    M/F coded bits, rounded down or up, then the unprotected bits of frame f. All rows have the same width m; a row with
    one coded bit less has an unused place, for which the channel draws but which is not counted as sent. The inner
    channel sees as many frames as without protection, so a channel that draws once per frame loses the same frames; a
    channel that draws once per bit draws more often, so its errors differ.

    Symbols of a code that has them (`ErrorCorrection.symbol_bits`) are spread in place of bits: a row holds whole ones.

    With `interleave` D, the coded bits of D consecutive frames are distributed to their rows in turn: row r carries
    bits r, r + D, r + 2D, … A burst inside a row, or the loss of a row, then hits every D-th coded bit. Unprotected
    bits stay in their frame.

    `family` and `error_rate` are those of the inner channel, before decoding. Without frames, nothing is sent.

    >>> channel = ProtectedChannel(FrameErasureChannel(0.0), Repetition(3), protected_bits=[0])
    >>> channel.channel_bits(frames=10, frame_bits=8)
    100

    Args:
        channel: carries the coded and the unprotected bits.
        code: the error-correcting code.
        protected_bits: positions in a frame, from 0, of the bits to protect (unequal error protection); None for all.
        interleave: D, frames over which coded bits are interleaved, at most those of the clip; 1 for none.
        frame_bits: n, for the delay of a code of blocks alone; a link states it.

    Raises:
        InvalidValue: `interleave` is below 1; no position, or one twice or below 0; when called, one beyond the frame.
    """

    def __init__(
        self,
        channel: Channel,
        code: ErrorCorrection,
        *,
        protected_bits: Sequence[int] | None = None,
        interleave: int = 1,
        frame_bits: int | None = None,
    ) -> None:
        if not 1 <= interleave <= DEEPEST:
            allowed = f"must be 1 frame, which is no interleaving, to {DEEPEST} frames"
            raise InvalidValue("interleave", interleave, allowed)
        if protected_bits is not None and (
            not protected_bits or min(protected_bits) < 0 or len(set(protected_bits)) < len(protected_bits)
        ):
            allowed = "must be different bits of a frame, counted from 0, or null for all"
            raise InvalidValue("protected_bits", list(protected_bits), allowed)
        self.channel, self.code, self.interleave, self.frame_bits = channel, code, interleave, frame_bits
        self.protected_bits = None if protected_bits is None else sorted(protected_bits)
        self.family, self.error_rate = channel.family, channel.error_rate
        bits = "" if self.protected_bits is None else f"-bits{','.join(map(str, self.protected_bits))}"
        self._suffix = f"+{code.name}{bits}" + (f"-interleave{interleave}" if interleave > 1 else "")
        self.name = f"{channel.name}{self._suffix}"

    @property
    def curve(self) -> str:
        return f"{self.channel.curve}{self._suffix}"

    @property
    def lost_share(self) -> float:
        """That of the inner channel, before decoding."""
        return self.channel.lost_share

    @property
    def delay_frames(self) -> int:
        """Delay of the interleaver, 2 (D − 1) frames, of frames that share coded bits, and of the inner channel.

        The first frame of a block waits for the D − 1 others before its first row is sent, and the receiver for D − 1
        more rows. Where the code's tail or blocks do not end with a frame, rows run ahead of frames, which is added
        (`ErrorCorrection.ahead`: one frame, or more where few bits of a frame are coded). The decoder's look-ahead is
        not counted: `ConvolutionalCode` here looks at the whole message, where a live receiver would decide after
        about five constraint lengths.

        With a code of blocks, the delay is the longest wait of a frame for its block (`block_delay`): a block of K
        whole frames takes 2 (K − 1) frames without interleaving.

        Raises:
            InvalidValue: the code has blocks, and the bits of a frame are not known.
        """
        if self.code.block_bits is not None:
            if self.frame_bits is None:
                allowed = "are not known, on which the delay of a code of blocks depends"
                raise InvalidValue("The bits of a frame", allowed=allowed, remedy="state frame_bits")
            protected, _ = self._split(self.frame_bits)
            return block_delay(self.code, len(protected), interleave=self.interleave) + self.channel.delay_frames
        coded = None if self.frame_bits is None else len(self._split(self.frame_bits)[0])
        return 2 * (self.interleave - 1) + self.code.ahead(coded) + self.channel.delay_frames

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for a clip of `frames` frames of `frame_bits` payload bits, termination and padding included.

        An inner channel that counts each frame by itself (`Channel.by_frame`) is asked for each row with the bits that
        it holds; another one, such as one that itself adds parity, for complete rows, with their unused places.
        """
        protected, unprotected = self._split(frame_bits)
        if not frames:
            return 0
        coded = self.code.coded_length(frames * len(protected))
        width = self._width(coded, frames)
        if not self.channel.by_frame:
            return self.channel.channel_bits(frames, width + len(unprotected))
        held = torch.bincount(self._places(coded, frames) // width, minlength=frames)  # bits of each row
        found = enumerate(held.bincount().tolist())
        return sum(n * self.channel.channel_bits(1, bits + len(unprotected)) for bits, n in found if n)

    def expansion(self, frames: int, frame_bits: int) -> float:
        """Bits sent per payload bit: the channel's bit rate over the codec's."""
        return self.channel_bits(frames, frame_bits) / (frames * frame_bits)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit uint8 payload `[..., F, n]`; each clip of F frames is protected on its own.

        Hard decisions of the inner channel are taken to be wrong with its `error_rate` p, all alike: of a channel that
        also loses bits, or treats bits differently, that is approximate.

        Returns:
            The same shape, float32 probabilities of a one: of a protected bit its posterior (`ErrorCorrection.decode`),
            of an unprotected one what the inner channel returned, where a hard decision is 1 − p or p. Exactly 0.5 is
            a bit of which nothing is known. If the inner channel's `error_rate` is 0 and all bits are certain, uint8.
        """
        check_frames(bits)
        if not bits.numel():
            return bits.clone()
        payload = bits.reshape(-1, *bits.shape[-2:])  # [B, F, n]
        return self.decode(self.channel(self.encode(payload), generator), bits.shape[-1]).view(bits.shape)

    def encode(self, payload: Tensor) -> Tensor:
        """What is sent for uint8 payload `[B, F, n]`: uint8 rows `[B, F, m]`, zeros in unused places."""
        frames, frame_bits = payload.shape[-2:]
        protected, unprotected = self._split(frame_bits)
        coded = self.code.encode(payload[..., protected].flatten(1))  # [B, M]
        width = self._width(coded.shape[1], frames)
        places = self._places(coded.shape[1], frames).to(payload.device)
        rows = coded.new_zeros(len(payload), frames * width).index_copy(1, places, coded)
        return torch.cat([rows.unflatten(1, (frames, width)), payload[..., unprotected]], 2)  # [B, F, m]

    def used_places(self, frames: int, frame_bits: int) -> Tensor:
        """Where the rows of `encode` hold a bit: bool `[F, m]`."""
        protected, unprotected = self._split(frame_bits)
        coded = self.code.coded_length(frames * len(protected))
        used = torch.zeros(frames * self._width(coded, frames), dtype=torch.bool)
        used[self._places(coded, frames)] = True
        return torch.cat([used.view(frames, -1), torch.ones(frames, len(unprotected), dtype=torch.bool)], 1)

    def decode(self, received: Tensor, frame_bits: int) -> Tensor:
        """Payload `[B, F, n]` as `__call__` returns it, of rows received, `[B, F, m]`; n is `frame_bits`."""
        frames = received.shape[1]
        protected, unprotected = self._split(frame_bits)
        coded_length = self.code.coded_length(frames * len(protected))
        width = self._width(coded_length, frames)
        places = self._places(coded_length, frames).to(received.device)
        error_rate = self.channel.error_rate
        coded = received[..., :width].flatten(1)[:, places]
        decoded = self.code.decode(coded, frames * len(protected), error_rate=error_rate)
        plain = received[..., width:]
        merged = torch.empty(len(received), frames, frame_bits, device=received.device)
        merged[..., protected] = decoded.unflatten(1, (frames, -1)).float()
        merged[..., unprotected] = plain if plain.is_floating_point() else decision_probabilities(plain, error_rate)
        # Otherwise float32 even if all are certain: to an outer channel uint8 are decisions wrong with `error_rate`.
        return hard_if_certain(merged) if error_rate == 0.0 else merged

    def _width(self, coded: int, frames: int) -> int:
        """Places for coded bits in a row: whole symbols."""
        symbol = self.code.symbol_bits
        return symbol * -(-coded // (symbol * frames))

    def _places(self, coded: int, frames: int) -> Tensor:
        return symbol_places(coded, frames, interleave=self.interleave, symbol_bits=self.code.symbol_bits)

    def _split(self, frame_bits: int) -> tuple[list[int], list[int]]:
        """Positions of protected and of unprotected bits in a frame."""
        protected = list(range(frame_bits)) if self.protected_bits is None else self.protected_bits
        if protected[-1] >= frame_bits:
            raise InvalidValue("protected_bits", protected, f"must lie below the {frame_bits} bits of a frame")
        return protected, sorted(set(range(frame_bits)) - set(protected))


def coded_places(coded_bits: int, frames: int, *, interleave: int) -> Tensor:
    """Place of each coded bit in `frames` rows of ⌈coded_bits / frames⌉ places each.

    Args:
        coded_bits: number of coded bits.
        frames: number of rows.
        interleave: consecutive rows over which coded bits are distributed in turn.

    Returns:
        int64 `[coded_bits]`, different indices into the concatenated rows.
    """
    first_rows = torch.arange(0, frames, interleave)  # of each interleaved block
    starts = first_rows * coded_bits // frames
    bit = torch.arange(coded_bits)
    block = torch.searchsorted(starts, bit, right=True) - 1
    offset = bit - starts[block]
    depth = (frames - first_rows[block]).clamp(max=interleave)
    row, column = first_rows[block] + offset % depth, offset // depth
    return row * -(-coded_bits // frames) + column


def symbol_places(coded_bits: int, frames: int, *, interleave: int, symbol_bits: int) -> Tensor:
    """Place of each coded bit as of `coded_places`, where the bits of a symbol stay side by side in one row.

    Returns:
        int64 `[coded_bits]`, different indices into the concatenated rows of ⌈coded_bits / (frames · symbol_bits)⌉
        symbols each.
    """
    symbols = coded_places(coded_bits // symbol_bits, frames, interleave=interleave)
    return (symbols[:, None] * symbol_bits + torch.arange(symbol_bits)).flatten()


@lru_cache(maxsize=64)
def block_delay(code: ErrorCorrection, frame_bits: int, *, interleave: int) -> int:
    """Frames from the arrival of a frame to that of the last row on which its decoding depends, at most.

    Frame f comes at time f, a row leaves when the payload bits of its coded bits are there, and rows follow each other
    at the pace of frames, as late as the latest of them demands. Found by following a message of whole blocks.

    Args:
        code: of blocks.
        frame_bits: protected bits of a frame.
        interleave: frames over which coded bits are interleaved.
    """
    block_bits = code.block_bits or 1
    frames = 2 * math.lcm(interleave, block_bits // math.gcd(block_bits, frame_bits))  # whole blocks and interleavers
    coded = code.coded_length(frames * frame_bits)
    width = code.symbol_bits * -(-coded // (code.symbol_bits * frames))
    places = symbol_places(coded, frames, interleave=interleave, symbol_bits=code.symbol_bits)
    rows = places // width  # of each coded bit
    needed, last = code.order(frames * frame_bits)
    start = int((needed // frame_bits - rows).max())
    latest = rows.cummax(0).values[last]  # row that completes each payload bit
    frame = torch.arange(frames * frame_bits) // frame_bits
    return max(int((latest + start - frame).max()), 0)
