"""A network between two programs on one machine: a UDP relay that loses, delays and so reorders datagrams, seeded.

    python -m tests.support.udp_relay --listen 127.0.0.1:5000 --to 127.0.0.1:5001 --loss 0.1 --delay 20 --jitter 50

It stands for the kernel's netem where there is none: each datagram, in both directions, is lost with probability
`loss`, or arrives after `delay` plus 0 to `jitter` ms, each value equally likely and independent of the others.
"""

import argparse
import heapq
import itertools
import random
import selectors
import socket
import threading
import time
from typing import Any

Address = tuple[Any, ...]


class Relay:
    """Listens at one address and passes on to another; answers go back to whoever sent last.

    Attributes:
        address: where it listens.
        passed, lost: datagrams so far.
    """

    def __init__(
        self, target: Address, *, listen: Address = ("127.0.0.1", 0), loss: float = 0.0, delay: float = 0.0,
        jitter: float = 0.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.target, self.loss, self.delay, self.jitter = target, loss, delay, jitter
        self._random = random.Random(seed)
        self._front, self._back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        self._front.bind(listen)
        self._back.bind(("", 0))
        self.address = self._front.getsockname()
        self.passed = self.lost = 0
        self._caller: Address | None = None
        self._waiting: list[tuple[float, int, socket.socket, bytes, Address]] = []
        self._count = itertools.count()

    def run(self, stop: threading.Event | None = None) -> None:
        """Relay until `stop` is set."""
        selector = selectors.DefaultSelector()
        for each in (self._front, self._back):
            each.setblocking(False)
            selector.register(each, selectors.EVENT_READ)
        while not (stop and stop.is_set()):
            due = self._waiting[0][0] - time.monotonic() if self._waiting else 0.2
            for key, _ in selector.select(max(0.0, min(due, 0.2))):
                self._take(key.fileobj)  # type: ignore[arg-type]
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                _, _, out, data, target = heapq.heappop(self._waiting)
                out.sendto(data, target)
                self.passed += 1
        selector.close()
        self._front.close()
        self._back.close()

    def _take(self, came: socket.socket) -> None:
        data, address = came.recvfrom(2**16)
        if came is self._front:
            self._caller, out, target = address, self._back, self.target
        elif self._caller is None:
            return
        else:
            out, target = self._front, self._caller
        if self._random.random() < self.loss:
            self.lost += 1
            return
        at = time.monotonic() + self.delay + self.jitter * self._random.random()
        heapq.heappush(self._waiting, (at, next(self._count), out, data, target))


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    return host, int(port)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=_address, required=True)
    parser.add_argument("--to", type=_address, required=True)
    parser.add_argument("--loss", type=float, default=0.0, help="share")
    parser.add_argument("--delay", type=float, default=0.0, help="ms")
    parser.add_argument("--jitter", type=float, default=0.0, help="ms")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    Relay(
        options.to, listen=options.listen, loss=options.loss, delay=options.delay / 1000,
        jitter=options.jitter / 1000, seed=options.seed,
    ).run()  # fmt: skip


if __name__ == "__main__":
    main()
