"""Operating points: what is efficient, what keeps the limits, and which systems the clips do not tell apart."""

from __future__ import annotations

import numpy as np
import pytest

from callbacks.analysis.operating_curve import OperatingCurve, rates_of
from callbacks.figures.operating import operating_figure
from callbacks.metrics import STOI, MelDistance, SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.operating_points import Choice, OperatingPoint, choices, operating_points
from callbacks.scoring.scores import ClipScores, summarise
from callbacks.scoring.signals import Scores
from codec.channels import BinarySymmetricChannel
from codec.errors import InvalidValue

CHANNELS = [BinarySymmetricChannel(0.0), BinarySymmetricChannel(0.1)]
BOOTSTRAP = Bootstrap(resamples=300)
NOISE = np.random.default_rng(0).normal(0, 0.02, 20)


def clips(
    system: str, means: tuple[float, float], *, rate: float, delay: float, metric: str = "stoi"
) -> list[ClipScores]:
    """Twenty clips that share their deviations from the system's mean behind each of two channels."""
    return [
        ClipScores(
            f"clip_{number:02}",
            codec=system,
            speaker="",
            seconds=1.0,
            bits=100,
            codewords=10,
            bit_rates=np.array([rate, rate]),
            delays_ms=np.array([delay, delay]),
            signals=np.array([[0], [1]]),
            bit_errors=np.zeros((2, 1)),
            erased_codewords=np.zeros((2, 1), dtype=int),
            scores=[Scores({metric: mean + noise}, {}) for mean in means],
        )
        for number, noise in enumerate(NOISE)
    ]


def ranked(
    *systems: list[ClipScores],
    delay: float = 1e9,
    limits: tuple[float, ...] = (800, 1600),
    metric: SpeechMetric = STOI(),  # noqa: B008
) -> tuple[list[OperatingPoint], list[Choice]]:
    by_system = {found[0].codec: found for found in systems}
    rows = [row for found in systems for row in summarise(found, CHANNELS, [metric], repeats=1, bootstrap=BOOTSTRAP)]
    points = operating_points(rows, metric, delay_limit_ms=delay)
    names = [channel.name for channel in CHANNELS]
    return points, choices(
        points, by_system, names, metric, rate_limits=limits, delay_limit_ms=delay, bootstrap=BOOTSTRAP
    )


PLAIN = clips("plain", (0.80, 0.50), rate=800, delay=0)
CODED = clips("coded", (0.80, 0.75), rate=1600, delay=60)
SLOW = clips("slow", (0.80, 0.79), rate=1610, delay=600)  # the tail of its code: within 2 % of 1600
WORSE = clips("worse", (0.70, 0.40), rate=1600, delay=0)


def test_the_best_keeps_the_rate_and_the_delay() -> None:
    _, found = ranked(PLAIN, CODED, SLOW, WORSE, delay=100)
    noisy = {choice.rate_limit: choice for choice in found if choice.channel == "bsc-0.1"}
    assert [noisy[rate].best for rate in (800, 1600)] == ["plain", "coded"]
    assert (noisy[1600].bit_rate, noisy[1600].delay_ms, noisy[1600].second) == (1600, 60, "plain")
    assert noisy[1600].difference == pytest.approx(0.25) and noisy[1600].difference_low > 0.2
    assert (noisy[800].second, noisy[800].as_good) == ("", "") and np.isnan(noisy[800].difference)
    _, found = ranked(PLAIN, CODED, SLOW, WORSE)
    assert [choice.best for choice in found if choice.channel == "bsc-0.1"] == ["plain", "slow"]


def test_what_the_clips_do_not_tell_apart_is_named_and_the_cheapest_of_it() -> None:
    noisy_clips = clips("noisy", (0.8005, 0.5), rate=1600, delay=20)
    for place, clip in enumerate(noisy_clips):
        clip.scores[0].values["stoi"] += 0.01 * (-1) ** place
    _, found = ranked(PLAIN, noisy_clips, WORSE)
    clean = next(choice for choice in found if choice.channel == "bsc-0" and choice.rate_limit == 1600)
    assert (clean.best, clean.as_good, clean.saving) == ("noisy", "plain", "plain")


def test_efficient_systems_are_those_that_none_outdoes() -> None:
    points, _ = ranked(PLAIN, CODED, SLOW, WORSE, delay=100)
    efficient = {(p.channel, p.system) for p in points if p.efficient}
    assert efficient == {("bsc-0", "plain"), ("bsc-0.1", "plain"), ("bsc-0.1", "coded")}
    assert {p.system for p in points if not p.within_delay} == {"slow"}
    assert [p.system for p in points if p.channel == "bsc-0"] == ["plain", "coded", "worse", "slow"]
    assert rates_of(points) == [800, 1610]


def test_a_distance_ranks_the_other_way() -> None:
    near = clips("near", (1.0, 2.0), rate=800, delay=0, metric="mel")
    far = clips("far", (1.5, 2.5), rate=800, delay=0, metric="mel")
    _, found = ranked(far, near, metric=MelDistance())
    assert {choice.best for choice in found} == {"near"} and all(choice.difference < 0 for choice in found)


def test_no_system_within_the_limits_gives_no_choice() -> None:
    assert ranked(CODED, SLOW, limits=(800,))[1] == []


def test_the_figure_has_a_panel_for_each_channel_and_hollow_marks_beyond_the_delay() -> None:
    points, _ = ranked(PLAIN, CODED, SLOW, WORSE, delay=100)
    figure = operating_figure(points, STOI(), title="t")
    panels = [axis for axis in figure.axes if axis.get_visible()]
    assert [axis.get_title() for axis in panels] == ["bsc-0", "bsc-0.1"]
    faces = [container.lines[0].get_markerfacecolor() for container in panels[0].containers]
    assert [face == "none" for face in faces] == [False, False, False, True]


@pytest.mark.parametrize("wrong", [{"rate_limits": [0]}, {"rate_limits": [float("nan")]}, {"delay_limit_ms": -1}])
def test_limits_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(InvalidValue):
        OperatingCurve(**wrong)


def test_rates_do_not_chain_together() -> None:
    points = [point._replace(bit_rate=rate) for point in ranked(PLAIN)[0][:1] for rate in (100, 101.5, 103, 104.5, 107)]
    assert rates_of(points) == [101.5, 104.5, 107]
