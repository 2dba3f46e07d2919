"""The results of the last signals: metrics that share an analysis, and draws that share a reference, do it once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256
from typing import Generic, TypeVar

import numpy as np

Result = TypeVar("Result")


class Recent(Generic[Result]):
    """Keeps what a function of a signal returned for the last few signals, in one process.

    Args:
        function: of a signal [T] and its rate in Hz.
        kept: number of results to keep.
    """

    def __init__(self, function: Callable[[np.ndarray, int], Result], *, kept: int = 16) -> None:
        self.function, self.kept = function, kept
        self._found: OrderedDict[tuple[bytes, int], Result] = OrderedDict()

    def __call__(self, signal: np.ndarray, sample_rate: int) -> Result:
        """The function's result, computed or kept."""
        key = sha256(np.ascontiguousarray(signal).tobytes()).digest(), sample_rate
        if key not in self._found:
            self._found[key] = self.function(signal, sample_rate)
        self._found.move_to_end(key)
        while len(self._found) > self.kept:
            self._found.popitem(last=False)
        return self._found[key]

    def __reduce__(self) -> tuple[type[Recent[Result]], tuple[Callable[[np.ndarray, int], Result]]]:
        """Pickled without its results: each process has its own."""
        return type(self), (self.function,)
