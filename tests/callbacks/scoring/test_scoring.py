"""The pool returns every score, and outlives processes that die or hang."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from callbacks.metrics import SISDR
from callbacks.scoring.pool import ScoringPool, default_workers
from tests.support.codec_fakes import RATE
from tests.support.faulty_metrics import Environment, Level
from tests.support.speech import speech_like

SIGNAL = speech_like(0, 0.5)


def marked(first: float) -> np.ndarray:
    signal = SIGNAL.copy()
    signal[0] = first
    return signal


@pytest.fixture
def pool() -> Iterator[ScoringPool]:
    pool = ScoringPool([Level(), Environment()], 2, timeout=120.0)
    yield pool
    pool.close()


def test_workers_score_as_the_caller_does(pool: ScoringPool) -> None:
    inline = ScoringPool([Level(), SISDR()], 0)
    workers = ScoringPool([Level(), SISDR()], 2)
    for number in range(20):  # more than the queue holds
        for scorer in (inline, workers):
            scorer.submit(("clip", number), SIGNAL, SIGNAL * number, sample_rate=RATE)
    expected, found = inline.results(), workers.results()
    workers.close()
    assert found == expected and list(found) == [("clip", number) for number in range(20)]
    assert found["clip", 0].reasons["level"] == "degraded signal is silent"
    assert found["clip", 0].values["level"] is None


def test_workers_use_one_thread_and_no_torch(pool: ScoringPool) -> None:
    pool.submit(0, SIGNAL, SIGNAL, sample_rate=RATE)
    assert pool.results()[0].values["threads"] == 1.0


def test_a_crash_costs_its_own_job_only(pool: ScoringPool) -> None:
    for number in range(12):
        pool.submit(number, SIGNAL, marked(13 if number == 5 else 0.5), sample_rate=RATE)
    found = pool.results()
    assert found[5].values == {"level": None, "threads": None}
    assert found[5].reasons["level"] == "scoring process died (exit status 3)"
    assert all(found[number].values["level"] is not None for number in range(12) if number != 5)


def test_a_hang_ends_at_the_timeout() -> None:
    pool = ScoringPool([Level()], 1, timeout=2.0)
    pool.submit("slow", SIGNAL, marked(14), sample_rate=RATE)
    pool.submit("next", SIGNAL, SIGNAL, sample_rate=RATE)
    found = pool.results()
    pool.close()
    assert found["slow"].reasons == {"level": "scoring timed out"}
    assert found["next"].values["level"] is not None


def test_a_bug_in_a_metric_is_an_error_not_a_count(pool: ScoringPool) -> None:
    pool.submit(0, SIGNAL, marked(15), sample_rate=RATE)
    with pytest.raises(RuntimeError, match="ZeroDivisionError: a bug"):
        pool.results()
    pool.submit(0, SIGNAL, SIGNAL, sample_rate=RATE)  # and the pool goes on
    assert pool.results()[0].values["level"] is not None


def test_the_pool_starts_again_after_close(pool: ScoringPool) -> None:
    pool.submit(0, SIGNAL, SIGNAL, sample_rate=RATE)
    pool.close()
    pool.submit(1, SIGNAL, SIGNAL, sample_rate=RATE)
    assert list(pool.results()) == [1]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="unique names"):
        ScoringPool([SISDR(), SISDR()], 0)
    with pytest.raises(ValueError, match="num_workers -1"):
        ScoringPool([SISDR()], -1)
    inline = ScoringPool([SISDR()], 0)
    inline.submit(0, SIGNAL, SIGNAL, sample_rate=RATE)
    with pytest.raises(ValueError, match="submitted twice"):
        inline.submit(0, SIGNAL, SIGNAL, sample_rate=RATE)


def test_ranks_share_the_cores() -> None:
    assert default_workers(1) >= default_workers(2) >= 1
    assert default_workers(10_000) == 1
