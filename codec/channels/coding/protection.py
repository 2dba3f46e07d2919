"""A channel behind forward error correction, for all bits of a frame or for the most sensitive ones alone."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codec.channels.base import Channel
from codec.channels.coding.base import ErrorCorrection


class ProtectedChannel(Channel):
    """Encodes payload bits, sends them through a channel and decodes what arrives.

    The protected bits of all frames of a clip, frame after frame, are one message of the code. Its channel bits are
    spread evenly over the F frames, so that row f of what the inner channel sees, `[B, F, m]`, is frame f's share: M/F
    of the M coded bits, rounded down or up (termination and padding are among them), then the frame's unprotected bits.
    Rows have one width m; where a share is rounded down, the last coded place is empty: the channel draws for it, but
    it is not counted as sent. The inner channel sees as many frames as without protection, so one that draws once a
    frame loses the same frames; one that draws once a bit draws for more bits, so its errors differ.

    With `interleave` D, the coded bits of D consecutive frames are dealt to their rows in turn: row r carries bits
    r, r + D, r + 2D, … A burst inside a row, or the loss of one, then hits every D-th coded bit. Unprotected bits stay
    in their frame.

    `family` and `error_rate` are those of the inner channel.

    Args:
        channel: carries the coded and the unprotected bits.
        code: protects.
        protected_bits: positions in a frame, from 0, of the bits to protect (unequal protection); None for all.
        interleave: D, frames whose coded bits are mixed; 1 for none. More than a clip has are all of its frames.

    Raises:
        ValueError: `interleave` is below 1; no position, or one twice or below 0; when called, one beyond the frame.
    """

    def __init__(
        self,
        channel: Channel,
        code: ErrorCorrection,
        *,
        protected_bits: Sequence[int] | None = None,
        interleave: int = 1,
    ) -> None:
        if interleave < 1:
            raise ValueError(f"interleave {interleave} must be at least 1 frame, which is no interleaving.")
        if protected_bits is not None and (
            not protected_bits or min(protected_bits) < 0 or len(set(protected_bits)) < len(protected_bits)
        ):
            raise ValueError(
                f"protected_bits {list(protected_bits)} must be different bits of a frame, counted from 0; null is all."
            )
        self.channel, self.code, self.interleave = channel, code, interleave
        self.protected_bits = None if protected_bits is None else sorted(protected_bits)
        self.family, self.error_rate = channel.family, channel.error_rate
        bits = "" if self.protected_bits is None else f"-bits{','.join(map(str, self.protected_bits))}"
        self._suffix = f"+{code.name}{bits}" + (f"-interleave{interleave}" if interleave > 1 else "")
        self.name = f"{channel.name}{self._suffix}"

    @property
    def curve(self) -> str:
        return f"{self.channel.curve}{self._suffix}"

    def channel_bits(self, frames: int, frame_bits: int) -> int:
        """Bits sent for a clip of `frames` frames of `frame_bits` payload bits, termination and padding included.

        Where the channel adds parity of its own, it counts whole rows.
        """
        protected, unprotected = self._split(frame_bits)
        coded = self.code.coded_length(frames * len(protected))
        width = -(-coded // frames) + len(unprotected) if frames else 0
        whole = self.channel.channel_bits(frames, width)
        return whole if whole != frames * width else coded + frames * len(unprotected)

    def expansion(self, frames: int, frame_bits: int) -> float:
        """Bits sent per payload bit: the factor from the codec's bit rate to the channel's."""
        return self.channel_bits(frames, frame_bits) / (frames * frame_bits)

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        """Transmit uint8 payload `[..., F, n]`; each clip of F frames is protected on its own.

        Returns:
            The same shape: uint8 if every bit is decided, else float32, where a decoded bit is 0, 1, or 0.5 if nothing
            of it arrived, and an unprotected bit is what the inner channel made of it.
        """
        if bits.ndim < 2:
            raise ValueError(f"bits of shape {list(bits.shape)} must be [..., F, n], one frame of n bits a row.")
        if not bits.numel():
            return bits.clone()
        frames, frame_bits = bits.shape[-2:]
        protected, unprotected = self._split(frame_bits)
        payload = bits.reshape(-1, frames, frame_bits)  # [B, F, n]
        coded = self.code.encode(payload[..., protected].flatten(1))  # [B, M]
        width = -(-coded.shape[1] // frames)
        places = coded_places(coded.shape[1], frames, interleave=self.interleave).to(bits.device)
        rows = coded.new_zeros(len(payload), frames * width).index_copy(1, places, coded)
        sent = torch.cat([rows.unflatten(1, (frames, width)), payload[..., unprotected]], 2)  # [B, F, m]

        arrived = self.channel(sent, generator)
        decoded = self.code.decode(arrived[..., :width].flatten(1)[:, places], frames * len(protected))
        kept = arrived[..., width:]
        soft = decoded.is_floating_point() or (kept.is_floating_point() and bool(unprotected))
        received = torch.empty_like(payload, dtype=torch.float32 if soft else torch.uint8)
        received[..., protected] = decoded.unflatten(1, (frames, -1)).to(received.dtype)
        received[..., unprotected] = kept.to(received.dtype)
        return received.view(bits.shape)

    def _split(self, frame_bits: int) -> tuple[list[int], list[int]]:
        """Positions of protected and of unprotected bits in a frame."""
        protected = list(range(frame_bits)) if self.protected_bits is None else self.protected_bits
        if protected[-1] >= frame_bits:
            raise ValueError(f"protected_bits {protected} must lie below the {frame_bits} bits of a frame.")
        return protected, sorted(set(range(frame_bits)) - set(protected))


def coded_places(coded_bits: int, frames: int, *, interleave: int) -> Tensor:
    """Where each coded bit travels in `frames` rows of ⌈coded_bits / frames⌉ places.

    Returns:
        int64 `[coded_bits]`, different indices into the rows laid end to end.
    """
    first_rows = torch.arange(0, frames, interleave)  # of each interleaved block
    starts = first_rows * coded_bits // frames
    bit = torch.arange(coded_bits)
    block = torch.searchsorted(starts, bit, right=True) - 1
    offset = bit - starts[block]
    depth = (frames - first_rows[block]).clamp(max=interleave)
    row, column = first_rows[block] + offset % depth, offset // depth
    return row * -(-coded_bits // frames) + column
