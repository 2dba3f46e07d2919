"""`python -m codec call` on the loopback device, directly and through a relay that loses, delays and reorders.

Bounds hold on a machine that has no time: there, playing leaves frames out, and packets come late.
"""

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import soundfile

from codec import save_codec
from codec.__main__ import main
from codec.transport.live.endpoint import Endpoint
from codec.transport.live.statistics import ReceiverStatistics
from tests.support.codec_fakes import tiny_codec
from tests.support.speech import speech_like
from tests.support.udp_relay import Relay


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("calls")
    save_codec(tiny_codec(), found / "codec.safetensors")
    soundfile.write(found / "speech.wav", speech_like(0, 2.0), 16_000)
    return found


def free_port() -> int:
    with Endpoint("127.0.0.1:0", None) as endpoint:
        return endpoint.address[1]


def call(folder: Path, *words: object) -> None:
    with pytest.raises(SystemExit) as end:
        main(["call", "--codec", str(folder / "codec.safetensors"), "--seconds", "60", *map(str, words)])
    assert end.value.code == 0, end.value.code


@contextmanager
def answered(folder: Path, *words: object):
    """A call in a thread beside the one in the block; at the end it has ended."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            call(folder, *words)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive() and not failed, failed


@contextmanager
def relayed(port: int, **options: float):
    relay, stop = Relay(("127.0.0.1", port), **options), threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    yield relay
    stop.set()
    thread.join()


def lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_file_is_heard_at_the_other_side(folder, tmp_path, capsys):
    port, stats = free_port(), tmp_path / "heard.jsonl"
    with answered(folder, "--listen", f"127.0.0.1:{port}", "--output", tmp_path / "heard.wav", "--stats", stats):
        call(folder, "--to", f"127.0.0.1:{port}", "--source", folder / "speech.wav", "--crc")
    audio, rate = soundfile.read(tmp_path / "heard.wav")
    assert rate == 16_000 and 0.3 <= len(audio) / rate <= 6 and np.abs(audio).max() > 0
    found = lines(stats)
    assert {"seconds", "memory_mb", "receiver"} <= set(found[-1])
    told = capsys.readouterr()
    assert "sent: 100 packets, 100 frames" in told.out and "% concealed" in told.out
    counts = counted(told.out)
    assert found[-1]["receiver"]["packets"] == counts["packets"]  # a line at the end
    assert counts["packets"] + counts["late"] == 100 and counts["streams"] == 1
    assert counts["restarts"] or counts["frames"] + counts["skipped"] + counts["dropped"] - counts["inserted"] >= 100
    assert "Listening at 127.0.0.1" in told.err


def test_losses_jitter_and_reordering(folder, tmp_path, capsys):
    port = free_port()
    with (
        relayed(port, loss=0.1, delay=0.005, jitter=0.05) as relay,
        answered(folder, "--listen", f"127.0.0.1:{port}", "--output", tmp_path / "heard.wav", "--buffer_ms", "150"),
    ):
        call(folder, "--to", f"127.0.0.1:{relay.address[1]}", "--source", folder / "speech.wav")
    told = capsys.readouterr().out
    counts = counted(told)
    assert relay.lost > 2 and counts["streams"] == 1
    sent = int(told.split(" datagrams")[0].rpartition(" ")[2])
    assert sent == relay.passed + relay.lost
    arrived = counts["packets"] + counts["late"] + counts["early"]
    assert sent - 100 - relay.lost <= relay.passed - arrived <= sent - 100  # headers and ends
    assert counts["reordered"] >= 3 and counts["concealed"] >= counts["lost"] >= 1
    assert 0.3 <= soundfile.info(tmp_path / "heard.wav").duration <= 6


def counted(told: str) -> dict[str, int]:
    """Counts of the line "heard: …", zeros included."""
    line = next(line for line in told.splitlines() if line.startswith("heard: "))
    pairs = line.removeprefix("heard: ").split(";")[0].split(", ")
    zeros = {name: 0 for name, value in asdict(ReceiverStatistics()).items() if isinstance(value, int)}
    return zeros | {name: int(count) for count, name in (pair.split(" ", 1) for pair in pairs)}


def test_two_way_with_one_side_that_answers_whoever_calls(folder, tmp_path, capsys):
    port = free_port()
    there = ["--listen", f"127.0.0.1:{port}", "--source", folder / "speech.wav", "--output", tmp_path / "there.wav"]
    with answered(folder, *there):
        time.sleep(0.3)
        call(
            folder, "--to", f"127.0.0.1:{port}", "--source", folder / "speech.wav", "--output", tmp_path / "here.wav",
            "--packet_frames", 2,
        )  # fmt: skip
    for name in ("here.wav", "there.wav"):
        audio, rate = soundfile.read(tmp_path / name)
        assert 0.3 <= len(audio) / rate <= 8 and np.abs(audio).max() > 0
    told = capsys.readouterr().out
    assert told.count(" 100 frames, ") >= 2 and told.count("1 streams") == 2


def test_a_receiver_that_starts_late(folder, tmp_path, capsys):
    port = free_port()
    sender = ["--to", f"127.0.0.1:{port}", "--source", folder / "speech.wav"]
    with answered(folder, *sender):
        time.sleep(0.6)
        call(folder, "--wait", 3, "--listen", f"127.0.0.1:{port}", "--output", tmp_path / "heard.wav")
    counts = counted(capsys.readouterr().out)
    assert 0 < counts["packets"] <= 80 and counts["streams"] == 1
    assert 0.05 < soundfile.info(tmp_path / "heard.wav").duration < 5


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "source and output"),
        (["--source", "mic"], "nobody"),
        (["--listen", "5004", "--source", "mic"], "nobody"),
        (["--to", "here", "--source", "SPEECH"], "no address"),
        (["--to", "127.0.0.1:99999", "--source", "SPEECH"], "no address"),
        (["--to", "no.such.host.invalid:5004", "--source", "SPEECH"], "not found"),
        (["--to", "a..b:5004", "--source", "SPEECH"], "not found"),
        (["--to", "127.0.0.1:5004", "--source", "SPEECH", "--stats", "SPEECH"], "different files"),
        (["--listen", "192.0.2.1:5004", "--output", "a.wav"], "listened at"),
        (["--to", "127.0.0.1:5004", "--source", "none.wav"], "no audio file"),
        (["--to", "127.0.0.1:5004", "--source", "SPEECH", "--packet_frames", "0"], "packet_frames"),
        (["--to", "127.0.0.1:5004", "--source", "SPEECH", "--look_ahead", "99"], "look_ahead"),
        (["--listen", "0", "--output", "a.mp3"], "suffix"),
        (["--listen", "0", "--output", "a.wav", "--buffer_ms", "9000"], "buffer_ms"),
        (["--listen", "0", "--output", "a.wav", "--wait", "0"], "wait"),
        (["--listen", "0", "--output", "a.wav", "--seconds", "0"], "seconds"),
        (["--listen", "0", "--output", "a.wav", "--stats", "none/a.jsonl"], "cannot be written"),
    ],
)
def test_mistakes_are_one_sentence(folder, tmp_path, monkeypatch, capsys, words, told):
    monkeypatch.chdir(tmp_path)
    words = [str(folder / "speech.wav") if word == "SPEECH" else word for word in words]
    with pytest.raises(SystemExit) as end:
        main(["call", "--codec", str(folder / "codec.safetensors"), *words])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert told in said and len(said.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())
