"""Calls between two network namespaces: loss and jitter, a late receiver, a sender that dies, garbage, two-way.

The network is impaired by netem where the kernel has it, else by a relay between the namespaces.
"""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec import save_codec
from tests.support.codec_fakes import tiny_codec
from tests.support.namespaces import PORT, Network, NoNamespaces, network
from tests.support.paths import ROOT
from tests.support.speech import speech_like

pytestmark = pytest.mark.slow
GARBAGE = """
import os, socket, sys, time
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for n in range(2000):
    out.sendto(os.urandom(n % 300), (sys.argv[1], int(sys.argv[2])))
    time.sleep(0.001)
"""


@pytest.fixture(scope="module")
def net() -> Iterator[Network]:
    try:
        with network(loss=0.1, delay=20, jitter=50) as found:
            yield found
    except NoNamespaces as error:
        pytest.skip(str(error))


def _interruptible() -> None:
    """Programs in the background of a shell, and theirs, ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Side:
    """`python -m codec call` in a namespace."""

    def __init__(self, where: list[str], folder: Path, *words: object) -> None:
        self.stats = folder / f"stats{len(list(folder.iterdir()))}.jsonl"
        options = ["--codec", folder / "codec.safetensors", "--seconds", 200, "--stats", self.stats, *words]
        command = [*where, sys.executable, "-m", "codec", "call", *map(str, options)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        self.process = subprocess.Popen(command, cwd=ROOT, preexec_fn=_interruptible, **pipes)
        assert self.process.stderr is not None
        self.begun = self.process.stderr.readline()

    def ended(self) -> dict[str, int]:
        """The counts of its last line of statistics, after it has ended well."""
        out, errors = self.process.communicate(timeout=300)
        assert self.process.returncode == 0, errors
        self.told = out
        return json.loads(self.stats.read_text().splitlines()[-1])["receiver"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_codec(tiny_codec(), tmp_path / "codec.safetensors")
    soundfile.write(tmp_path / "speech.wav", speech_like(0, 5.0), 16_000)
    soundfile.write(tmp_path / "long.wav", speech_like(1, 60.0), 16_000)
    return tmp_path


def heard(folder: Path, name: str = "heard.wav") -> tuple[float, np.ndarray]:
    audio, rate = soundfile.read(folder / name)
    return len(audio) / rate, audio


def test_loss_and_jitter(net, folder):
    far = Side(net.far, folder, "--listen", PORT, "--output", folder / "heard.wav")
    near = Side(net.near, folder, "--to", net.target, "--source", folder / "speech.wav")
    near.process.communicate(timeout=300)
    counts = far.ended()
    assert 0.03 < counts["lost"] / counts["frames"] < 0.35
    assert counts["concealed"] == counts["lost"] + counts["inserted"]
    assert counts["reordered"] > 5 and counts["streams"] == 1
    seconds, audio = heard(folder)
    assert 4.0 < seconds < 7.0 and np.abs(audio).max() > 0


def test_a_receiver_that_starts_late(net, folder):
    near = Side(net.near, folder, "--to", net.target, "--source", folder / "long.wav")
    time.sleep(1.0)
    far = Side(net.far, folder, "--listen", PORT, "--output", folder / "heard.wav")
    time.sleep(3.0)
    near.process.send_signal(signal.SIGINT)
    near.process.communicate(timeout=300)
    counts = far.ended()
    assert counts["streams"] == 1 and counts["frames"] > 50
    assert counts["played"][0] > counts["frames"] + 40  # the first second at least was missed
    assert 1 < heard(folder)[0] < 10


def test_a_sender_that_is_killed_and_another_that_takes_over(net, folder):
    far = Side(net.far, folder, "--listen", PORT, "--output", folder / "heard.wav", "--wait", 100)
    first = Side(net.near, folder, "--to", net.target, "--source", folder / "long.wav")
    time.sleep(3)
    first.process.kill()
    first.process.communicate()
    second = Side(net.near, folder, "--to", net.target, "--source", folder / "speech.wav")
    second.process.communicate(timeout=300)
    counts = far.ended()
    assert counts["streams"] == 2
    assert 200 < counts["played"][0] < 260  # the second one's numbers
    seconds, audio = heard(folder)
    assert seconds > 7 and np.abs(audio[-16_000:]).max() > 0


def test_garbage_beside_a_call(net, folder):
    far = Side(net.far, folder, "--listen", PORT, "--output", folder / "heard.wav")
    flood = subprocess.Popen([*net.far, sys.executable, "-c", GARBAGE, "127.0.0.1", str(PORT)])
    near = Side(net.near, folder, "--to", net.target, "--source", folder / "speech.wav")
    near.process.communicate(timeout=300)
    flood.wait(60)
    counts = far.ended()
    assert counts["foreign"] >= 1500 and counts["streams"] == 1
    assert counts["lost"] / counts["frames"] < 0.35 and counts["refused"] == 0


def test_two_way(net, folder):
    files = ["--source", folder / "speech.wav", "--output"]
    far = Side(net.far, folder, "--listen", PORT, *files, folder / "far.wav", "--wait", 5)
    near = Side(net.near, folder, "--to", net.target, *files, folder / "near.wav", "--wait", 5)
    for side in (near, far):
        counts = side.ended()
        assert counts["streams"] == 1 and counts["packets"] > 100
    for name in ("near.wav", "far.wav"):
        assert 3.0 < heard(folder, name)[0] < 12 and np.abs(heard(folder, name)[1]).max() > 0


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_hanging_up_completes_what_was_heard(net, folder, kind):
    far = Side(net.far, folder, "--listen", PORT, "--output", folder / "heard.wav")
    near = Side(net.near, folder, "--to", net.target, "--source", folder / "long.wav")
    time.sleep(2.5)
    far.process.send_signal(kind)
    far.ended()
    assert 0.5 < heard(folder)[0] < 4.5 and "heard: " in far.told
    near.process.send_signal(kind)
    out, _ = near.process.communicate(timeout=60)
    assert near.process.returncode == 0 and "sent: " in out
