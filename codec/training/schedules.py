"""Learning-rate schedules as pure functions of the batch number, so that a resumed run needs no scheduler state."""

from abc import ABC, abstractmethod

from codec.errors import InvalidValue


class Schedule(ABC):
    """A factor on the learning rate."""

    @abstractmethod
    def __call__(self, batch: int) -> float:
        """Factor for the batch with this number, counted from 0."""


class Constant(Schedule):
    """A factor of 1 for every batch."""

    def __call__(self, batch: int) -> float:
        return 1.0


class WarmupLinearDecay(Schedule):
    """Rises linearly to 1 over `warmup` batches, falls linearly to `final` at batch `total`, and stays (X-Codec 2).

    Args:
        warmup: batches of the rise.
        total: batch at which the fall ends.
        final: factor from there on.
        start: batches of earlier runs whose weights this one starts from. The fall goes on from there, and the rise,
            which new optimizer moments need, reaches it after `warmup` batches anew.

    Raises:
        InvalidValue: `warmup` does not lie in 0 … `total`, or `start` is negative.
    """

    def __init__(self, warmup: int = 3_000, total: int = 400_000, *, final: float = 0.2, start: int = 0) -> None:
        if not 0 <= warmup <= total:
            raise InvalidValue("warmup", warmup, f"must lie between 0 and total {total}")
        if start < 0:
            raise InvalidValue("start", start, "must be 0 or more batches")
        self.warmup, self.total, self.final, self.start = warmup, total, final, start

    def __call__(self, batch: int) -> float:
        rise = min(1.0, (batch + 1) / max(1, self.warmup))
        progress = (self.start + batch - self.warmup) / max(1, self.total - self.warmup)
        return rise * (1.0 - (1.0 - self.final) * min(1.0, max(0.0, progress)))
