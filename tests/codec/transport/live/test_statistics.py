"""What a call tells: a line, a summary, JSON; and how its threads end."""

import json
import threading
import time

import pytest

from codec.transport.live.statistics import ReceiverStatistics, Report, SenderStatistics
from codec.transport.live.tasks import Tasks


def test_a_report_of_both_sides():
    report = Report(SenderStatistics(packets=50, bytes=2_000), ReceiverStatistics(frames=200, concealed=13, late=2))
    line, summary = report.line(), report.summary()
    assert "sent 50 packets, 2.0 kB" in line and "13 concealed (6.5%), 2 late" in line
    assert summary.splitlines() == [
        "sent: 50 packets, 2000 bytes",
        "heard: 2 late, 200 frames, 13 concealed; 6.50% concealed",
    ]
    facts = json.loads(report.json())
    assert facts["receiver"]["frames"] == 200 and facts["sender"]["spoken"] == [0, 0.0] and facts["memory_mb"] > 10


def test_a_report_of_one_side():
    assert Report(SenderStatistics()).summary() == "sent: nothing"
    assert "sender" not in json.loads(Report(receiver=ReceiverStatistics()).json())


def test_the_longest_of_a_second_begins_anew():
    report = Report(SenderStatistics(encoding_ms=5, behind_ms=6), ReceiverStatistics(decoding_ms=7))
    report.begin_second()
    assert report.sender and report.receiver
    assert (report.sender.encoding_ms, report.sender.behind_ms, report.receiver.decoding_ms) == (0, 0, 0)


def test_tasks_end_together_and_their_errors_are_raised():
    ended = threading.Event()

    def waits(stop: threading.Event) -> None:
        stop.wait()
        ended.set()

    def fails(stop: threading.Event) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), Tasks() as tasks:
        tasks.start("waits", waits)
        assert not tasks.has_ended("waits") and tasks.has_ended("never started")
        tasks.start("fails", fails)
        began = time.monotonic()
        tasks.wait(20)
        assert time.monotonic() - began < 20
    assert ended.is_set()
