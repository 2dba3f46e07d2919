"""A call: both directions beside each other, what is told of them each second, and its end."""

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import IO

from codec.transport.live.devices import Sink, Source
from codec.transport.live.endpoint import Endpoint
from codec.transport.live.receiver import Receiver
from codec.transport.live.sender import Sender
from codec.transport.live.statistics import Report
from codec.transport.live.tasks import Tasks


class Conversation:
    """A call with one direction or both.

    It ends when a file was sent to its end and the other side's stream has ended or fallen silent; where a microphone
    is sent, when the other side's has. Ctrl-C and SIGTERM hang up: the end is sent and what was heard completed.

    Attributes:
        report: what was counted so far.

    Args:
        endpoint: socket of the call.
        sending: sender and what it sends; None to receive only.
        hearing: receiver and where it is heard; None to send only.
        wait: seconds of silence after which a receiver stops.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sending: tuple[Sender, Source] | None,
        hearing: tuple[Receiver, Sink] | None,
        wait: float = 10.0,
    ) -> None:
        self.endpoint, self.sending, self.hearing, self.wait = endpoint, sending, hearing, wait
        self.report = Report(
            None if sending is None else sending[0].statistics, None if hearing is None else hearing[0].statistics
        )

    def run(self, *, log: IO[str] | None = None, seconds: float | None = None) -> None:
        """Talk until the end, or for some seconds; `log` gets a line of JSON each second and at the end."""
        awaited = []
        with _ending_by_signal(), Tasks() as tasks:
            if self.hearing is not None:
                receiver, sink = self.hearing
                self.endpoint.receiver = receiver
                tasks.start("listening", self.endpoint.listen)
                tasks.start("playing", partial(receiver.run, sink, wait=self.wait))
                awaited.append("playing")
            if self.sending is not None:
                tasks.start("sending", self._send)
                if self.sending[1].ends or not awaited:
                    awaited.append("sending")
            with suppress(KeyboardInterrupt):
                self._follow(tasks, awaited, log, seconds)
        if log is not None:
            log.write(self.report.json() + "\n")

    def _send(self, stop: threading.Event) -> None:
        assert self.sending is not None
        sender, source = self.sending
        if self.endpoint.wait_for_target(stop):
            sender.run(source, stop)

    def _follow(self, tasks: Tasks, awaited: list[str], log: IO[str] | None, seconds: float | None) -> None:
        """Tell of the call each second until the awaited tasks have ended or its time is over."""
        began = told = time.monotonic()
        is_terminal, refusal = sys.stderr.isatty(), None
        while not tasks.has_ended(*awaited):
            now = time.monotonic()
            left = 1.0 if seconds is None else began + seconds - now
            if left <= 0:
                break
            tasks.wait(min(left, max(0.0, told + 1 - now)))
            if self.report.refusal != refusal:
                refusal = self.report.refusal
                print(f"python -m codec: {refusal}", file=sys.stderr, flush=True)
            if time.monotonic() - told >= 1:
                told = max(told + 1, time.monotonic() - 1)
                if log is not None:
                    log.write(self.report.json() + "\n")
                if is_terminal:
                    print(f"\r\x1b[K{self.report.line()}", end="", file=sys.stderr, flush=True)
                self.report.begin_second()
        if is_terminal:
            print(file=sys.stderr)


@contextmanager
def _ending_by_signal() -> Iterator[None]:
    """A request to end (SIGTERM) hangs up as Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
