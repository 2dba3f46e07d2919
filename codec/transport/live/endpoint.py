"""The UDP socket of a call, and addresses as a user writes them."""

import socket
import threading
from types import TracebackType

from codec.errors import InvalidValue, first_line
from codec.transport.live.receiver import POLL, Receiver
from codec.transport.live.stream import Address

DATAGRAM = 2**16  # bytes, more than UDP carries


class Endpoint:
    """One socket for both directions; also sees to it that what arrives gets to the receiver.

    Attributes:
        address: where it listens, host and port.
        target: where it sends; None for whoever calls.
        receiver: takes what arrives; None to leave it unread.

    Args:
        listen: "[HOST:]PORT"; None for any free port.
        to: "HOST:PORT"; None to answer whoever calls.

    Raises:
        InvalidValue: an address is none, or cannot be used.
    """

    def __init__(self, listen: str | None, to: str | None) -> None:
        self.receiver: Receiver | None = None
        self.target = None if to is None else _resolved("to", to, None)[1]
        is_6 = self.target is not None and len(self.target) > 2
        family, place = _resolved("listen", "0" if listen is None else listen, socket.AF_INET6 if is_6 else None)
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.bind(place)
        except OSError as error:
            self._socket.close()
            allowed = f"cannot be listened at ({error.strerror})"
            raise InvalidValue("listen", listen, allowed, "choose another port") from error
        self._socket.settimeout(POLL)
        self.address = self._socket.getsockname()

    def send(self, datagram: bytes) -> bool:
        """Send to the target, or to the peer of the receiver's stream; whether the system took it."""
        target = self.target or (self.receiver.peer if self.receiver is not None else None)
        if target is None:
            return False
        try:
            self._socket.sendto(datagram, target)
        except OSError:  # no route, a full queue: lost, as on the way
            return False
        return True

    def wait_for_target(self, stop: threading.Event) -> bool:
        """Wait until there is somebody to send to; False where `stop` was set before."""
        while self.target is None and (self.receiver is None or self.receiver.peer is None):
            if stop.wait(POLL):
                return False
        return True

    def listen(self, stop: threading.Event) -> None:
        """Give each datagram to the receiver until `stop` is set."""
        while not stop.is_set():
            try:
                datagram, address = self._socket.recvfrom(DATAGRAM)
            except TimeoutError:
                continue
            except ConnectionError:  # some systems tell that an earlier datagram reached nobody
                continue
            if self.receiver is not None:
                self.receiver.feed(datagram, address)

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def _resolved(name: str, text: str, family: int | None) -> tuple[int, Address]:
    """Family and socket address of "HOST:PORT", or of "PORT" where a host may be left out; IPv4 first.

    Raises:
        InvalidValue: it is no address, or the host is not found.
    """
    host, _, port = str(text).rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    listens = name == "listen"
    if not (port.isdecimal() and int(port) < 2**16) or not (host or listens) or (int(port) == 0 and not listens):
        example = "5004 or 127.0.0.1:5004" if listens else "192.0.2.7:5004"
        raise InvalidValue(name, text, "is no address with a port", f"write it as {example}")
    host = host or ("::" if family == socket.AF_INET6 else "0.0.0.0")
    try:
        found = socket.getaddrinfo(host, int(port), family or 0, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise InvalidValue(name, text, f"is not found ({first_line(error)})", "check host and port") from error
    kind, _, _, _, place = min(found, key=lambda each: each[0] != socket.AF_INET)
    return kind, place
