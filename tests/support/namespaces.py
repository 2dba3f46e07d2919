"""Two network namespaces of Linux with an impaired network between them: the kernel's netem, or else a relay."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from tests.support.paths import ROOT

PORT = 5004


class Network(NamedTuple):
    """A network between two namespaces.

    Attributes:
        kind: what impairs it, "netem" or "relay".
        near, far: begin a command line that runs in either namespace.
        target: address at which a program in `near` reaches port 5004 in `far`.
    """

    kind: str
    near: list[str]
    far: list[str]
    target: str


class NoNamespaces(Exception):
    """Why there are none here."""


def _ip(*words: str) -> None:
    try:
        subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
    except FileNotFoundError as error:
        raise NoNamespaces("network namespaces need the program ip of iproute2") from error
    except subprocess.CalledProcessError as error:
        raise NoNamespaces(f"no network namespaces here: {error.stderr.strip()}") from error


@contextmanager
def network(*, loss: float = 0.0, delay: float = 0.0, jitter: float = 0.0, seed: int = 0) -> Iterator[Network]:
    """Namespaces "near" and "far", each behind a pair of virtual Ethernet devices.

    Args:
        loss: share of datagrams lost, in either direction.
        delay: in ms, the shortest.
        jitter: in ms, added to it, each value from 0 equally likely; so datagrams overtake each other.
        seed: of the relay's draws; netem has draws of its own.

    Raises:
        NoNamespaces: this system or this user has none.
    """
    near, middle, far = (f"codec{os.getpid()}{part}" for part in "abc")
    relay: subprocess.Popen[bytes] | None = None
    try:
        for name in (near, middle, far):
            _ip("netns", "add", name)
            _ip("-n", name, "link", "set", "lo", "up")
        _join(near, "10.77.1.2", middle, "10.77.1.1", "a")
        _join(far, "10.77.2.2", middle, "10.77.2.1", "b")
        if _has_netem(near, far, loss, delay, jitter):
            _ip("netns", "exec", middle, "sysctl", "-qw", "net.ipv4.ip_forward=1")
            _ip("-n", near, "route", "add", "default", "via", "10.77.1.1")
            _ip("-n", far, "route", "add", "default", "via", "10.77.2.1")
            kind, target = "netem", f"10.77.2.2:{PORT}"
        else:
            kind, target = "relay", f"10.77.1.1:{PORT}"
            words = [*_within(middle), sys.executable, "-m", "tests.support.udp_relay", "--listen", target]
            words += ["--to", f"10.77.2.2:{PORT}", "--loss", str(loss), "--delay", str(delay)]
            relay = subprocess.Popen([*words, "--jitter", str(jitter), "--seed", str(seed)], cwd=ROOT)
            time.sleep(1.0)
        yield Network(kind, _within(near), _within(far), target)
    finally:
        if relay is not None:
            relay.kill()
            relay.wait()
        for name in (near, middle, far):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def _within(name: str) -> list[str]:
    return ["ip", "netns", "exec", name]


def _join(outer: str, address: str, middle: str, other: str, letter: str) -> None:
    ends = [f"{letter}o{os.getpid()}", f"{letter}m{os.getpid()}"]
    _ip("-n", outer, "link", "add", ends[0], "type", "veth", "peer", "name", ends[1], "netns", middle)
    for name, end, own in ((outer, ends[0], address), (middle, ends[1], other)):
        _ip("-n", name, "address", "add", f"{own}/24", "dev", end)
        _ip("-n", name, "link", "set", end, "up")


def _has_netem(near: str, far: str, loss: float, delay: float, jitter: float) -> bool:
    """Set netem up at both ends, if the kernel has it."""
    mean = f"{delay + jitter / 2}ms"
    for name, letter in ((near, "a"), (far, "b")):
        words = ["qdisc", "add", "dev", f"{letter}o{os.getpid()}", "root", "netem", "delay", mean, f"{jitter / 2}ms"]
        try:
            done = subprocess.run([*_within(name), "tc", *words, "loss", f"{100 * loss}%"], capture_output=True)
        except FileNotFoundError:
            return False
        if done.returncode:
            return False
    return True
