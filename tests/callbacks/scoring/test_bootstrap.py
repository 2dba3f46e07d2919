"""Bootstrap intervals: seeded, of the right width, and honest about missing values."""

from __future__ import annotations

import numpy as np
import pytest

from callbacks.scoring.bootstrap import bootstrap_means


def test_interval_matches_the_normal_theory_two_sidedly() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(1, 400))
    found = bootstrap_means(values, resamples=4000)
    half = 1.96 * values.std() / np.sqrt(400)
    assert found.mean[0] == pytest.approx(values.mean())
    assert found.high[0] - found.mean[0] == pytest.approx(half, rel=0.1)
    assert found.mean[0] - found.low[0] == pytest.approx(half, rel=0.1)


def test_coverage_is_near_the_confidence() -> None:
    values = np.random.default_rng(1).normal(size=(600, 40))
    found = bootstrap_means(values, resamples=500, confidence=0.8)
    covered = ((found.low < 0) & (found.high > 0)).mean()
    assert 0.73 < covered < 0.85


def test_missing_values_leave_the_mean_and_the_rest_alone() -> None:
    values = np.array([[1.0, np.nan, 3.0], [np.nan] * 3, [np.nan, 5.0, np.nan], [1.0, 2.0, 3.0]])
    found = bootstrap_means(values)
    assert found.mean[0] == 2 and found.mean[2] == 5 and found.mean[3] == 2
    assert np.isnan(found.mean[1]) and np.isnan(found.low[[1, 2]]).all()
    assert found.low[0] == 1 and found.high[0] == 3


def test_the_seed_decides() -> None:
    values = np.random.default_rng(2).normal(size=(2, 9))
    one, same, other = (bootstrap_means(values, seed=seed, resamples=50) for seed in (0, 0, 1))
    assert np.array_equal(one.low, same.low) and not np.array_equal(one.low, other.low)


def test_rows_share_their_resamples() -> None:
    values = np.random.default_rng(3).normal(size=(1, 9))
    found = bootstrap_means(np.concatenate([values, values + 1]))
    assert found.low[1] - found.low[0] == pytest.approx(1)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="confidence 1"):
        bootstrap_means(np.zeros((1, 3)), confidence=1)
