"""Known bits among the payload by which a receiver finds its place (Sellers 1962; marker codes of Ratzer 2005)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from codec.errors import InvalidValue


class Markers:
    """A pattern of known bits behind every so many payload bits, and behind the last ones of a clip.

    >>> Markers([0, 1], spacing=3).insert(torch.ones(5, dtype=torch.uint8)).tolist()
    [1, 1, 1, 0, 1, 1, 1, 0, 1]

    Args:
        pattern: the bits of a marker.
        spacing: payload bits between markers.

    Raises:
        InvalidValue: the pattern is empty or holds other values than 0 and 1, or `spacing` is below 1.
    """

    def __init__(self, pattern: Sequence[int] = (0, 0, 1), spacing: int = 12) -> None:
        if not pattern or set(pattern) - {0, 1}:
            raise InvalidValue("pattern", list(pattern), "must be one bit or more, 0 or 1", "take [0, 0, 1]")
        if spacing < 1:
            raise InvalidValue("spacing", spacing, "must be at least 1 payload bit", "take 12")
        self.pattern, self.spacing = tuple(pattern), spacing
        self.name = f"{''.join(map(str, pattern))}/{spacing}"

    def sent_bits(self, length: int) -> int:
        """Bits sent for `length` payload bits: N + ⌈N / spacing⌉ times the pattern's length."""
        return length + -(-length // self.spacing) * len(self.pattern)

    def layout(self, length: int) -> Tensor:
        """What a receiver knows of the bits sent for `length` payload bits: int64, a marker's 0 or 1, −1 of payload."""
        block = [-1] * min(self.spacing, length) + list(self.pattern)
        whole, rest = divmod(length, self.spacing)
        return torch.tensor(block * whole + ([-1] * rest + list(self.pattern) if rest else []), dtype=torch.long)

    def insert(self, bits: Tensor) -> Tensor:
        """Payload uint8 `[N]` with markers, uint8 `[sent_bits(N)]`."""
        layout = self.layout(len(bits)).to(bits.device)
        sent = layout.clamp(min=0).to(bits.dtype)
        sent[layout < 0] = bits
        return sent
