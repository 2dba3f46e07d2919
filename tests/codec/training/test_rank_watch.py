"""What a rank does when another fails, falls silent or leaves; threads on one store stand for the ranks."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch.distributed as dist

from codec.training.distributed import rank_watch
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.rank_watch import SILENT_END, RankWatch

Watches = Callable[..., list[RankWatch]]


@pytest.fixture
def exits(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """{rank: reason} of the ranks whose processes would have been ended; all delays are a hundredth."""
    monkeypatch.setattr(rank_watch, "PERIOD", 0.01)
    monkeypatch.setattr(rank_watch, "GRACE", 0.03)
    ended: dict[int, str] = {}
    monkeypatch.setattr(RankWatch, "_exit", lambda self, reason: ended.setdefault(self._rank, reason))
    return ended


@pytest.fixture
def watches(exits: dict[int, str]) -> Iterator[Watches]:
    """watches(ranks, silence=...): a watch for each rank, started."""
    started: list[RankWatch] = []

    def start(ranks: int, *, silence: float = 60.0) -> list[RankWatch]:
        store = dist.HashStore()
        for rank in range(ranks):
            started.append(RankWatch(store, rank, ranks=ranks, run=1, silence=silence, before_exit=lambda: None))
        for watch in started:
            watch.start()
        return started

    yield start
    for watch in started:
        watch.leave(together=False)
        watch.join(10)


def until(condition: Callable[[], bool]) -> None:
    """Wait for what must come."""
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


def failure(text: str) -> OSError:
    """An error as raised and caught."""
    try:
        raise OSError(text)
    except OSError as error:
        return error


def test_the_first_error_ends_all_ranks_and_is_shown(watches, exits):
    first, second, third = watches(3)
    assert second.report(failure("no disk")) is None
    until(lambda: not any(watch.is_alive() for watch in (first, second, third)))
    for rank in (0, 2):
        assert exits[rank].startswith("rank 1 failed first:\nTraceback") and "OSError: no disk" in exits[rank]
    assert "OSError: no disk" in exits[1]  # the failed rank too, as it has not ended by itself


def test_an_error_that_follows_is_told_the_first(watches):
    first, second = watches(2)
    second.report(failure("no disk"))
    followed = first.report(RuntimeError("Connection closed by peer"))
    assert followed is not None and "rank 1 failed first" in followed and "OSError: no disk" in followed


def test_an_error_of_the_backend_alone_names_the_likely_cause(watches):
    first, second = watches(2)
    second._ended.set()  # killed: no more heartbeats, and no report
    assert first.report(RuntimeError("gloo/transport/tcp/pair.cc: Connection closed by peer")) == SILENT_END


def test_an_error_of_the_process_group_names_the_likely_cause(watches):
    first, _ = watches(2)
    assert first.report(dist.DistBackendError("NCCL communicator was aborted")) == SILENT_END


@pytest.mark.parametrize("other", ["at work", "failed too"])
def test_an_error_of_this_rank_is_not_blamed_on_another(watches, monkeypatch, other):
    monkeypatch.setattr(rank_watch, "GRACE", 0.5)
    first, second = watches(2)
    monkeypatch.setattr(rank_watch, "PERIOD", 0.3)  # how long the report waits for a heartbeat
    if other == "failed too":
        second.report(OSError("no disk"))
        second._store.set(second._key("error", 0), "")  # as if it had come second
    assert first.report(RuntimeError("shapes do not match")) is None


def test_a_silent_neighbour_ends_the_rank(watches, exits):
    first, second = watches(2, silence=0.3)
    second._ended.set()  # no more heartbeats, and no word of leaving
    until(lambda: not first.is_alive())
    assert list(exits) == [0] and exits[0].startswith("rank 1 has been silent for 0.3 s")


def test_a_rank_that_leaves_alarms_nobody(watches, exits):
    first, second = watches(2, silence=0.2)
    second.leave(together=True)
    time.sleep(1)
    assert first.is_alive() and not exits
    first.leave(together=True)


def test_a_short_silence_is_refused():
    with pytest.raises(ValueError, match="silence 1 must be at least 5 seconds"):
        AlternatingDDPStrategy(1.0)
