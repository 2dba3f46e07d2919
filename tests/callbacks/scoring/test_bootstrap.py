"""Intervals: they cover the true mean as often as stated, by clip and by speaker, and never leave a clip out."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from callbacks.scoring.bootstrap import Bootstrap, bootstrap_means, crossed_mean, two_factor_mean

SIMULATED, CALLS = 3000, 4  # data sets; rows of one call share their resamples, so each call has another seed
SPEAKER_OF = np.array([*range(31), *range(13)])  # 44 clips of 31 speakers
SPEAKERS = [f"speaker {number}" for number in SPEAKER_OF]


def coverage(values: np.ndarray, *, mean: float, clusters: list[str] | None = None) -> float:
    """Share of the rows whose 95 % interval holds the true mean."""
    covered = []
    for seed, rows in enumerate(np.array_split(values, CALLS)):
        found = bootstrap_means(rows, clusters=clusters, resamples=600, seed=seed)
        covered.append((found.low <= mean) & (mean <= found.high))
    return float(np.concatenate(covered).mean())


def normal(generator: np.random.Generator, clips: int) -> np.ndarray:
    return 2.0 + generator.normal(size=(SIMULATED, clips))


def skewed(generator: np.random.Generator, clips: int) -> np.ndarray:
    return generator.gamma(2.0, size=(SIMULATED, clips))


@pytest.mark.parametrize("simulate", [normal, skewed])
@pytest.mark.parametrize(("clips", "least"), [(4, 0.90), (8, 0.93), (24, 0.93), (44, 0.93)])
def test_coverage_over_clips(
    simulate: Callable[[np.random.Generator, int], np.ndarray], clips: int, least: float
) -> None:
    assert least < coverage(simulate(np.random.default_rng(clips), clips), mean=2.0) < 0.97


def test_coverage_over_clips_of_a_few_speakers() -> None:
    """Clips of one speaker resemble each other; intervals over clips alone would cover too little."""
    generator = np.random.default_rng(0)
    values = generator.normal(size=(SIMULATED, 31))[:, SPEAKER_OF] + generator.normal(size=(SIMULATED, 44))
    assert 0.93 < coverage(values, mean=0.0, clusters=SPEAKERS) < 0.97
    assert coverage(values, mean=0.0) < 0.93


def test_coverage_includes_the_draws_of_each_clip() -> None:
    """Three draws of a channel in each clip, which vary more than the clips do: resampling clips covers both."""
    generator = np.random.default_rng(1)
    clip, draws = generator.normal(size=(SIMULATED, 24, 1)), 2 * generator.normal(size=(SIMULATED, 24, 3))
    assert 0.93 < coverage((clip + draws).mean(axis=2), mean=0.0) < 0.97


def test_coverage_over_clips_and_seeds() -> None:
    """Each seed shifts all clips together; intervals over clips alone leave that out."""
    generator = np.random.default_rng(2)
    covered, without = [], []
    for _ in range(1000):
        speaker, clip = generator.normal(size=31)[SPEAKER_OF], generator.normal(size=44)
        values = speaker + clip + 0.3 * generator.normal(size=(4, 1)) + 0.5 * generator.normal(size=(4, 44))
        found = crossed_mean(values, clusters=SPEAKERS)
        alone = crossed_mean(values.mean(axis=0, keepdims=True), clusters=SPEAKERS)
        covered.append(found.low <= 0 <= found.high)
        without.append(alone.low <= 0 <= alone.high)
    assert 0.92 < np.mean(covered) < 0.97 and np.mean(without) < np.mean(covered) - 0.02


def test_interval_matches_the_normal_theory_two_sidedly() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, size=(1, 400))
    found = bootstrap_means(values, resamples=4000)
    half = 1.96 * values.std(ddof=1) / np.sqrt(400)
    assert found.mean[0] == pytest.approx(values.mean())
    assert found.high[0] - found.mean[0] == pytest.approx(half, rel=0.05)
    assert found.mean[0] - found.low[0] == pytest.approx(half, rel=0.05)


def test_the_longer_tail_has_the_farther_bound() -> None:
    values = np.random.default_rng(0).gamma(0.5, size=(1, 30))
    found = bootstrap_means(values)
    assert found.high[0] - found.mean[0] > 1.3 * (found.mean[0] - found.low[0])


def test_few_clusters_have_the_interval_of_students_t() -> None:
    values = np.array([[1.0, 2.0, 4.0, 8.0]])
    found = bootstrap_means(values)
    half = 3.182446 * values.std(ddof=1) / 2  # t of 3 degrees of freedom
    assert (found.low[0], found.high[0]) == pytest.approx((3.75 - half, 3.75 + half), rel=1e-6)
    alone = crossed_mean(values)  # one seed: the clips alone
    assert alone == pytest.approx((3.75, 3.75 - half, 3.75 + half), rel=1e-6)


def test_the_mean_weighs_clips_and_the_interval_speakers() -> None:
    values = np.array([[0.0, 0.0, 0.0, 1.0]])
    found = bootstrap_means(values, clusters=["a", "a", "a", "b"])
    assert found.mean[0] == 0.25
    # sums less N_g times the mean are -0.75 and 0.75: se² = 2 (0.75² + 0.75²) / 4², t of one degree of freedom
    assert found.high[0] - 0.25 == pytest.approx(12.7062 * np.sqrt(2 * 2 * 0.75**2) / 4, rel=1e-4)


def test_an_unknown_speaker_is_a_cluster_of_its_own() -> None:
    values = np.random.default_rng(4).normal(size=(2, 12))
    unknown = bootstrap_means(values, clusters=[""] * 12)
    assert np.array_equal(unknown.low, bootstrap_means(values).low)
    assert np.array_equal(unknown.low, bootstrap_means(values, clusters=[f"{n}" for n in range(12)]).low)
    one = bootstrap_means(values, clusters=["a"] * 12)
    assert np.isfinite(one.mean).all() and np.isnan([one.low, one.high]).all()


def test_a_clip_without_a_value_takes_the_mean_with_it() -> None:
    values = np.random.default_rng(5).normal(size=(3, 9))
    values[1, 4] = np.nan
    found = bootstrap_means(values)
    assert np.isnan([bound[1] for bound in found]).all()
    whole = bootstrap_means(values[[0, 2]])
    assert np.array_equal(found.low[[0, 2]], whole.low) and np.array_equal(found.high[[0, 2]], whole.high)
    assert np.isnan(crossed_mean(values)).all()


@pytest.mark.parametrize("clips", [2, 7])
def test_equal_values_have_their_value_as_interval(clips: int) -> None:
    found = bootstrap_means(np.full((1, clips), 0.1))
    assert [float(bound[0]) for bound in found] == pytest.approx([0.1] * 3, abs=1e-15)
    assert crossed_mean(np.full((2, clips), 0.1)) == pytest.approx([0.1] * 3, abs=1e-15)
    one = bootstrap_means(np.full((1, 1), 0.1))
    assert one.mean[0] == 0.1 and np.isnan(one.low[0])


def test_the_seed_decides() -> None:
    values = np.random.default_rng(2).normal(size=(2, 9))
    one, same, other = (bootstrap_means(values, seed=seed, resamples=50) for seed in (0, 0, 1))
    assert np.array_equal(one.low, same.low) and not np.array_equal(one.low, other.low)
    assert np.isnan(Bootstrap(resamples=0).means(values).low).all()


def test_rows_share_their_resamples() -> None:
    values = np.random.default_rng(3).normal(size=(1, 9))
    found = bootstrap_means(np.concatenate([values, values + 1]))
    assert found.low[1] - found.low[0] == pytest.approx(1)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="confidence 1"):
        bootstrap_means(np.zeros((1, 3)), confidence=1)
    with pytest.raises(ValueError, match="2 clusters"):
        bootstrap_means(np.zeros((1, 3)), clusters=["a", "b"])
    with pytest.raises(ValueError, match="values"):
        crossed_mean(np.zeros((0, 3)))


def test_crossed_groups_of_unequal_seeds_are_factors_of_their_own():
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(5, 20)), generator.normal(size=(3, 20))
    found = crossed_mean(one, -other)
    assert found.mean == pytest.approx(one.mean() - other.mean())
    assert found.low < found.mean < found.high
    swapped = crossed_mean(-other, one)
    assert swapped == pytest.approx(found)
    single = crossed_mean(one, -other[:1] + 0 * other[:1])
    assert single.high - single.low > 0


@pytest.mark.parametrize("seeds", [(3, 3), (5, 3), (5, 1)])
def test_differences_of_seeds_are_covered_where_seeds_dominate(seeds):
    """Seed effects twice the clips', with an interaction; the difference of two systems' means is 0."""
    generator, hits, count = np.random.default_rng(1), 0, 1500
    for _ in range(count):
        clip = generator.normal(0, 0.02, 20)
        groups = [
            sign
            * (clip + (number > 1) * generator.normal(0, 0.04, (number, 1)) + generator.normal(0, 0.03, (number, 20)))
            for sign, number in zip((1, -1), seeds, strict=True)
        ]
        found = crossed_mean(*groups)
        hits += found.low <= 0 <= found.high
    assert 0.925 <= hits / count <= 0.985


@pytest.mark.parametrize("different", [1, 3, 5, 6, 9, 20])
def test_an_interval_over_mostly_equal_values_stays_near_them(different):
    """Differences that are zero but for a few clips: standard errors of resamples can be next to nothing."""
    values = np.zeros(44)
    values[:different] = np.random.default_rng(0).normal(-0.03, 0.02, different)
    found = bootstrap_means(values[None], resamples=2000)
    assert -0.05 < found.low[0] <= found.mean[0] <= found.high[0] < 0.02


@pytest.mark.parametrize("settings", [{"seed": -1}, {"resamples": 1}, {"resamples": -1}, {"confidence": 1.0}])
def test_settings_without_an_interval_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Bootstrap(**settings).checked()


@pytest.mark.parametrize(("listeners", "clips"), [(3, 3), (6, 4), (20, 8), (4, 24)])
@pytest.mark.parametrize("spreads", [(1.0, 1.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.3), (0.0, 0.0, 1.0)])
def test_two_factors_cover_at_least_as_often_as_stated_and_are_not_absurdly_wide(
    listeners: int, clips: int, spreads: tuple[float, float, float]
) -> None:
    """Spreads of listeners, of clips, and of what a listener makes of one clip."""
    generator = np.random.default_rng([listeners, clips])
    who, what, both = spreads
    covered, widths = [], []
    for _ in range(1000):
        values = 50 + who * generator.normal(size=(listeners, 1)) + what * generator.normal(size=(1, clips))
        values = values + both * generator.normal(size=(listeners, clips))
        found = two_factor_mean(values)
        covered.append(found.low <= 50 <= found.high)
        widths.append(found.high - found.low)
    spread = (who**2 / listeners + what**2 / clips + both**2 / (listeners * clips)) ** 0.5
    assert np.mean(covered) > 0.93
    assert np.quantile(widths, 0.99) < 30 * spread and np.median(widths) < 9 * spread


def test_two_factors_take_speakers_whole_and_need_two_of_each() -> None:
    values = np.random.default_rng(0).normal(size=(5, 6))
    paired = two_factor_mean(np.repeat(values, 2, axis=1), clusters=[f"s{number // 2}" for number in range(12)])
    assert paired == pytest.approx(two_factor_mean(values))
    for few in (values[:1], values[:, :1]):
        found = two_factor_mean(few)
        assert found.mean == pytest.approx(few.mean()) and np.isnan([found.low, found.high]).all()
    assert two_factor_mean(np.full((4, 3), 0.1)) == pytest.approx([0.1] * 3, abs=1e-15)
    with pytest.raises(ValueError, match="at least one listener and clip"):
        two_factor_mean(np.zeros((0, 3)))
