"""Times on a device: medians of CUDA events, of the clock on a CPU."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch


class Stopwatch:
    """Marks on the device's own time line; the times between them are read once, at the end."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        self.marks: list[Any] = []

    def mark(self) -> None:
        """Add a mark, without waiting for the device."""
        if self.cuda:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self.marks.append(event)
        else:
            self.marks.append(time.perf_counter())

    def seconds(self) -> list[float]:
        """Seconds from each mark to the next."""
        if not self.cuda:
            return [b - a for a, b in zip(self.marks, self.marks[1:], strict=False)]
        torch.cuda.synchronize()
        return [1e-3 * a.elapsed_time(b) for a, b in zip(self.marks, self.marks[1:], strict=False)]


def median_seconds(run: Callable[[], Any], device: torch.device, *, repeats: int = 20, warmup: int = 3) -> float:
    """Median seconds of a call."""
    for _ in range(warmup):
        run()
    watch = Stopwatch(device)
    watch.mark()
    for _ in range(repeats):
        run()
        watch.mark()
    return statistics.median(watch.seconds())


def peak_gigabytes(device: torch.device) -> float:
    """The largest memory that tensors have taken since the last `reset_peak`, NaN on a CPU."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else float("nan")


def reset_peak(device: torch.device) -> None:
    """Forget the largest memory so far, and give unused memory back."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
