"""Threads of a call that run beside each other: they end together, and what one raises is raised by who waits."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from threading import Event
from types import TracebackType

Task = Callable[[Event], None]


class Tasks:
    """Functions that run in threads, each given an event that is set when they should end; leaving the block ends them.

    Attributes:
        stop: the event.
    """

    def __init__(self) -> None:
        self.stop = Event()
        self._pool = ThreadPoolExecutor(max_workers=8)
        self._running: dict[str, Future[None]] = {}

    def start(self, name: str, task: Task) -> None:
        """Run a task."""
        self._running[name] = self._pool.submit(task, self.stop)

    def has_ended(self, *names: str) -> bool:
        """Whether none of these tasks runs."""
        return all(self._running[name].done() for name in names if name in self._running)

    def wait(self, seconds: float) -> None:
        """Wait until a task ends, at most for some seconds; raise what one has raised."""
        self._raise()
        running = [future for future in self._running.values() if not future.done()]
        wait(running, seconds, FIRST_COMPLETED)
        self._raise()

    def _raise(self) -> None:
        for future in self._running.values():
            if future.done():
                future.result()

    def __enter__(self) -> "Tasks":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop.set()
        self._pool.shutdown()
        if kind is None:
            self._raise()
