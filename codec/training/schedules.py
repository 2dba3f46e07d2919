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

    Raises:
        InvalidValue: `warmup` does not lie in 0 … `total`.
    """

    def __init__(self, warmup: int = 3_000, total: int = 400_000, *, final: float = 0.2) -> None:
        if not 0 <= warmup <= total:
            raise InvalidValue("warmup", warmup, f"must lie between 0 and total {total}")
        self.warmup, self.total, self.final = warmup, total, final

    def __call__(self, batch: int) -> float:
        if batch < self.warmup:
            return (batch + 1) / self.warmup
        progress = min(1.0, (batch - self.warmup) / max(1, self.total - self.warmup))
        return 1.0 - (1.0 - self.final) * progress
