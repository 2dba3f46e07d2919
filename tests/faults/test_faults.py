"""Faults of whole processes: a run ends soon, all of its processes with it, and says why. `table.py` makes them all."""

from pathlib import Path

import pytest

from tests.faults.table import rank_fault, worker_killed


@pytest.mark.slow
def test_an_error_on_rank_0_ends_a_rank_that_no_longer_listens():
    """Lightning's launcher alone would leave that rank behind: it runs in the one that failed."""
    outcome = rank_fault("exception", 0, "blocked")
    assert "OSError: the disk of this rank is gone" in outcome.message
    assert "[rank 1] The job ends: rank 0 failed first" in outcome.message


@pytest.mark.slow
def test_a_rank_that_hangs_ends_the_job():
    outcome = rank_fault("stop", 1, "blocked")
    assert "[rank 0] The job ends: rank 1 has been silent for 10 s" in outcome.message


@pytest.mark.filterwarnings("ignore")  # of a loader whose worker is gone
def test_a_killed_data_worker_ends_the_run(tmp_path: Path):
    outcome = worker_killed(tmp_path)
    assert "DataLoader worker" in outcome.message  # killed by a signal, or exited unexpectedly: whoever sees it first
