"""After which batches several ranks agree on a signal, and how the cores of a machine are shared among its ranks."""

import os
import signal
import sys
from types import SimpleNamespace

import pytest

from codec.training.distributed import ddp, stop_signals
from codec.training.distributed.stop_signals import StopSignals


@pytest.fixture
def asked(monkeypatch):
    """Batches after which two ranks have asked each other; the other one has got SIGTERM."""
    batches = []
    monkeypatch.setattr(stop_signals, "world_size", lambda: 2)
    monkeypatch.setattr(stop_signals, "gather_objects", lambda item: batches.append(item) or [item, signal.SIGTERM])
    return batches


def test_several_ranks_agree_after_every_tenth_batch_and_where_they_stop_anyway(asked):
    signals = StopSignals()
    found = [batch for batch in range(1, 31) if signals.agreed(batch, now=batch == 13) == signal.SIGTERM]
    assert found == [10, 13, 20, 30] and len(asked) == 4


def test_one_process_looks_after_every_batch():
    signals = StopSignals()
    assert signals.agreed(1, now=False) == 0
    signals.received = signal.SIGINT
    assert signals.agreed(3, now=False) == signal.SIGINT


@pytest.mark.parametrize(("cores", "own", "ranks", "threads"), [
    (64, 64, 8, "8"), (64, 8, 8, "8"), (2, 2, 8, "1"), (512, 512, 2, "32"), (8, 8, 1, None),
])  # fmt: skip
def test_ranks_of_a_machine_share_its_cores_when_they_compile(monkeypatch, cores, own, ranks, threads):
    monkeypatch.delenv("TORCHINDUCTOR_COMPILE_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(own)), raising=False)
    config = SimpleNamespace(compile_threads=None)
    monkeypatch.setitem(sys.modules, "torch._inductor.config", config)
    ddp.share_compile_threads(ranks)
    assert os.environ.pop("TORCHINDUCTOR_COMPILE_THREADS", None) == threads
    assert str(config.compile_threads) == str(threads)


def test_a_number_of_compile_threads_that_the_user_has_set_stays(monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_COMPILE_THREADS", "5")
    ddp.share_compile_threads(8)
    assert os.environ["TORCHINDUCTOR_COMPILE_THREADS"] == "5"
