"""Means over clips with bootstrap-t intervals (Efron 1979; Davison and Hinkley 1997), by speaker, in seeded NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from callbacks.metrics.checks import require, require_at_least

FEWEST_RESAMPLED = 6  # clusters; with fewer, the resampled standard errors are too coarse, and Student's t is used
LEAST_RESAMPLES = 20  # with fewer there is nothing beyond 95 % of them
LEAST_SPREAD = 0.05  # of the standard error: a resample with less has drawn hardly anything but equal values
ROUNDING = 1e-9  # a standard error below this share of its scale is zero but for rounding


class Interval(NamedTuple):
    """Mean and confidence bounds of each row [M]; NaN where there is none."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


class MeanInterval(NamedTuple):
    """One mean and its confidence bounds; NaN where there is none."""

    mean: float
    low: float
    high: float


class Bootstrap(NamedTuple):
    """Settings of the intervals.

    Attributes:
        resamples: Number of bootstrap resamples; 0 gives no interval.
        confidence: Probability mass between the bounds, in (0, 1).
        seed: Seed of the resampling.
    """

    resamples: int = 2000
    confidence: float = 0.95
    seed: int = 0

    def checked(self) -> Bootstrap:
        """These settings; InvalidValue where one is out of range."""
        self.means(np.zeros((1, 2)))
        return self

    def means(self, values: np.ndarray, clusters: Sequence[str] | None = None) -> Interval:
        """`bootstrap_means` with these settings."""
        return bootstrap_means(
            values, clusters=clusters, resamples=self.resamples, confidence=self.confidence, seed=self.seed
        )


def bootstrap_means(
    values: np.ndarray,
    *,
    clusters: Sequence[str] | None = None,
    resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Mean over clips of each row, with a bootstrap-t interval over clusters of clips.

    Every clip weighs the same in the mean. Clusters, such as speakers, are resampled whole. With G clusters of N_g
    clips, N in all, whose values add up to S_g, the mean m has the standard error

        se² = G / (G − 1) · Σ_g (S_g − m N_g)² / N²,

    and the bounds are m − q se, with the quantiles q of (m* − m) / se* over the resamples (Davison and Hinkley 1997,
    section 5.2). Resamples whose se* is below a twentieth of se are left out. With fewer than 6 clusters, or fewer than
    6 that differ from a value which most share (such as differences that are zero), q is a quantile of Student's t
    with G − 1 degrees of freedom instead. Where all clusters have one mean, both bounds are that mean.

    The draws of a channel are nested in the clips: each clip has its own, and its value is their mean. Resampling the
    highest level covers the levels below it (section 3.8), so the interval covers the draws too.

    All rows share the resampled clusters, so rows that hold the same clips are compared as pairs.

    Args:
        values: [M, clips]. A row with a NaN has neither a mean nor bounds: a clip without a value is not left out.
        clusters: Name of each clip's cluster [clips]; an empty name is a cluster of its own. None: every clip is.
        resamples: Number of bootstrap resamples; 0 gives no interval.
        confidence: Probability mass between the bounds, in (0, 1).
        seed: Seed of the resampling.

    Returns:
        Means [M] and bounds [M]; bounds are NaN with fewer than two clusters.

    Raises:
        InvalidValue: A number is out of range, or `clusters` has another length than the rows.
    """
    require(0 < confidence < 1, "confidence", confidence, "must lie between 0 and 1")
    require_at_least(0, resamples=resamples, seed=seed)
    require(resamples == 0 or resamples >= LEAST_RESAMPLES, "resamples", resamples, f"must be 0 or {LEAST_RESAMPLES}+")
    rows, clips = values.shape
    sizes, sums = _cluster_sums(values, clusters)
    means = values.mean(axis=1) if clips else np.full(rows, np.nan)
    groups = len(sizes)
    if resamples == 0 or groups < 2:
        return Interval(means, np.full(rows, np.nan), np.full(rows, np.nan))
    errors = sums - means[:, None] * sizes  # [M, G]
    spread = np.sqrt(_cluster_variance(errors, sizes))
    spread[spread <= ROUNDING * np.abs(values).max(axis=1)] = 0.0
    tail = (1 - confidence) / 2
    quantile = float(stdtrit(groups - 1, 1 - tail))
    low, high = means - quantile * spread, means + quantile * spread  # NaN where there is no mean
    if groups < FEWEST_RESAMPLED:
        return Interval(means, low, high)
    by_cluster = sums / sizes
    unlike = np.abs(by_cluster - np.median(by_cluster, axis=1, keepdims=True)) > ROUNDING
    varied = (spread > 0) & (unlike.sum(axis=1) >= FEWEST_RESAMPLED)
    if varied.any():
        drawn = np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), size=resamples)
        ratios = _studentized(errors[varied], sizes, drawn, spread[varied])
        below, above = np.nanquantile(ratios, [tail, 1 - tail], axis=0)
        low[varied] = means[varied] - above * spread[varied]
        high[varied] = means[varied] - below * spread[varied]
    return Interval(means, low, high)


def crossed_mean(*groups: np.ndarray, clusters: Sequence[str] | None = None, confidence: float = 0.95) -> MeanInterval:
    """Mean over clips and over further random factors that are crossed with them, with its interval.

    For values that every clip has for each of S seeds, such as those of a random permutation: another seed shifts all
    clips together, which resampling clips does not cover. With several groups, such as one system and the negative of
    another, the mean is the sum of theirs, and each group's seeds are a factor of its own.

    The variance of the mean is the clusters' variance (as in `bootstrap_means`) of the sum of the clips' means over
    seeds, plus, for each group, (A − B) / S, at least 0: A is the variance of the seeds' means, B what the interaction
    of seeds and clusters adds to it. The interval is Student's t with the degrees of freedom of Satterthwaite (1946),
    those of A and B apart.

    Args:
        groups: each [S, clips], of any numbers of seeds; a NaN gives no mean.
        clusters: as in `bootstrap_means`.
        confidence: Probability mass between the bounds, in (0, 1).

    Returns:
        The mean and its bounds; bounds are NaN with fewer than two clusters. With one seed, those of the clips alone.

    Raises:
        InvalidValue: `confidence` is out of range, there is no value, or `clusters` has another length than the rows.
    """
    require(0 < confidence < 1, "confidence", confidence, "must lie between 0 and 1")
    shapes = [list(values.shape) for values in groups]
    require(
        bool(groups) and all(values.size for values in groups), "values", shapes, "must hold at least one seed and clip"
    )
    total = np.sum([values.mean(axis=0) for values in groups], axis=0, keepdims=True)  # [1, clips]
    mean = float(total.mean())
    sizes, sums = _cluster_sums(total, clusters)
    count = len(sizes)
    if count < 2 or np.isnan(mean):
        return MeanInterval(mean, np.nan, np.nan)
    by_clips = float(_cluster_variance((sums - mean * sizes)[0], sizes))
    variance, squares = by_clips, by_clips**2 / (count - 1)
    for values in groups:
        between, interaction, seeds = _seed_variances(values, clusters)
        variance += max(0.0, between - interaction)
        if seeds > 1:
            squares += between**2 / (seeds - 1) + interaction**2 / ((seeds - 1) * (count - 1))
    if variance <= (ROUNDING * max(float(np.abs(values).max()) for values in groups)) ** 2:
        return MeanInterval(mean, mean, mean)
    half = float(stdtrit(variance**2 / squares, (1 + confidence) / 2)) * variance**0.5
    return MeanInterval(mean, mean - half, mean + half)


def two_factor_mean(
    values: np.ndarray, *, clusters: Sequence[str] | None = None, confidence: float = 0.95
) -> MeanInterval:
    """Mean of [listeners, clips] with an interval for other listeners and other clips, few of either.

    The variance of the mean is that over listeners, each with their mean over the clips, plus that over clips or
    clusters of clips (see `bootstrap_means`), each with its mean over the listeners. What a listener makes of one clip
    is in both, so the variance is at least the one that is sought. The interval is Student's t with the degrees of
    freedom of Satterthwaite (1946), which lie between the smaller of the two and their sum. `crossed_mean` subtracts
    what is counted twice; with a handful of listeners and clips, its degrees of freedom can be near 0.

    Args:
        values: [listeners, clips]; a NaN gives no mean.
        clusters: Name of each clip's cluster, such as its speaker; as in `bootstrap_means`.
        confidence: Probability mass between the bounds, in (0, 1).

    Returns:
        The mean and its bounds; bounds are NaN with fewer than two listeners or clusters.

    Raises:
        InvalidValue: `confidence` is out of range, there is no value, or `clusters` has another length than the rows.
    """
    require(0 < confidence < 1, "confidence", confidence, "must lie between 0 and 1")
    require(values.size > 0, "values", list(values.shape), "must hold at least one listener and clip")
    mean = float(values.mean())
    sizes, sums = _cluster_sums(values.mean(axis=0, keepdims=True), clusters)
    listeners, count = len(values), len(sizes)
    if listeners < 2 or count < 2 or np.isnan(mean):
        return MeanInterval(mean, np.nan, np.nan)
    by_listeners = float(values.mean(axis=1).var(ddof=1)) / listeners
    by_clips = float(_cluster_variance((sums - mean * sizes)[0], sizes))
    variance = by_listeners + by_clips
    if variance <= (ROUNDING * float(np.abs(values).max())) ** 2:
        return MeanInterval(mean, mean, mean)
    freedom = variance**2 / (by_listeners**2 / (listeners - 1) + by_clips**2 / (count - 1))
    half = float(stdtrit(freedom, (1 + confidence) / 2)) * variance**0.5
    return MeanInterval(mean, mean - half, mean + half)


def _seed_variances(values: np.ndarray, clusters: Sequence[str] | None) -> tuple[float, float, int]:
    """Variance of a mean over S seeds [S, clips] by the seeds' means, the part that is interaction, and S."""
    seeds = len(values)
    if seeds == 1:
        return 0.0, 0.0, 1
    sizes, sums = _cluster_sums(values, clusters)
    errors = sums - values.mean(axis=1, keepdims=True) * sizes  # [S, G], of each seed's own mean
    interaction = float(_cluster_variance(errors - errors.mean(axis=0), sizes).sum()) / (seeds - 1)
    return float(values.mean(axis=1).var(ddof=1)) / seeds, interaction / seeds, seeds


def _cluster_sums(values: np.ndarray, clusters: Sequence[str] | None) -> tuple[np.ndarray, np.ndarray]:
    """Number of clips of each cluster [G], in the order of their first clips, and the sums of the rows [M, G]."""
    clips = values.shape[1]
    names = [""] * clips if clusters is None else list(clusters)
    require(len(names) == clips, f"{len(names)} clusters", allowed=f"must be one for each of {clips} clips")
    keys = [(name, -1 if name else place) for place, name in enumerate(names)]
    number = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    member = np.zeros((clips, len(number)))
    member[np.arange(clips), [number[key] for key in keys]] = 1.0
    return member.sum(axis=0), values @ member


def _cluster_variance(errors: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Variance of means over clips, given each cluster's sum of deviations from the mean [..., G]."""
    groups = len(sizes)
    return groups / (groups - 1) * np.square(errors).sum(axis=-1) / sizes.sum() ** 2


def _studentized(errors: np.ndarray, sizes: np.ndarray, drawn: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """(m* − m) / se* of each resample and row [resamples, M]; NaN where se* is too small (`LEAST_SPREAD`).

    Args:
        errors: Each cluster's sum of deviations from its row's mean [M, G].
        sizes: Clips of each cluster [G].
        drawn: How often each resample has drawn each cluster [resamples, G].
        spread: Standard error of each row [M].
    """
    groups = len(sizes)
    clips = (drawn @ sizes)[:, None]  # [resamples, 1]
    shift = drawn @ errors.T / clips  # [resamples, M], m* − m
    squares = drawn @ np.square(errors).T - 2 * shift * (drawn @ (errors * sizes).T)
    squares += np.square(shift) * (drawn @ np.square(sizes))[:, None]
    error = np.sqrt(groups / (groups - 1) * np.maximum(squares, 0.0)) / clips
    return np.divide(shift, error, out=np.full(shift.shape, np.nan), where=error > LEAST_SPREAD * spread)
