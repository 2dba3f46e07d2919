"""Overlapping windows of a signal that arrives in pieces: what decoding and encoding in bounded memory share."""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor


class Window(NamedTuple):
    """A stretch of a signal between its contexts.

    Attributes:
        signal: `[..., n]`, the contexts included.
        start: where in it the stretch begins.
        size: its length.
    """

    signal: Tensor
    start: int
    size: int


class Windows:
    """Cuts a signal, along its last axis, into stretches of `chunk` with `before` and `after` of context around them.

    The stretches follow each other without a gap; the contexts end where the signal does. What is held is bounded by
    the longest piece and one window.
    """

    def __init__(self, chunk: int, before: int, after: int) -> None:
        self.chunk, self.before, self.after = chunk, before, after
        self._held: Tensor | None = None  # context, and what is in no stretch yet
        self._done = 0  # the part of it that was in a stretch

    def push(self, piece: Tensor) -> Iterator[Window]:
        """The windows that a further piece `[..., n]` completes; exhaust the iterator before the next call."""
        self._held = piece if self._held is None else torch.cat((self._held, piece), -1)
        while self._held.shape[-1] - self._done >= self.chunk + self.after:
            yield Window(self._held[..., : self._done + self.chunk + self.after], self._done, self.chunk)
            self._done += self.chunk
            unneeded = max(0, self._done - self.before)
            self._held, self._done = self._held[..., unneeded:], self._done - unneeded
        self._held = self._held.clone()  # a view would keep the whole piece in memory

    def finish(self) -> Iterator[Window]:
        """The windows of what is left at the end of the signal; the last stretch may be shorter."""
        while self._held is not None and self._held.shape[-1] > self._done:
            count = min(self.chunk, self._held.shape[-1] - self._done)
            yield Window(self._held[..., : self._done + count + self.after], self._done, count)
            self._done += count
