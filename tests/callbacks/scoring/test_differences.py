"""Paired differences: draws without a score count as the worst, pairs are counted, baselines have the same rate."""

from __future__ import annotations

import numpy as np
import pytest

from callbacks.channel.tables import format_differences
from callbacks.metrics import PESQ, STOI, SpeechMetric
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import Difference, baseline_of, differences
from callbacks.scoring.differences import compare as compare_all
from callbacks.scoring.scores import ClipScores, summarise
from callbacks.scoring.signals import Scores
from codec.channels import BinarySymmetricChannel

CHANNELS = [BinarySymmetricChannel(0.1)]
BOOTSTRAP = Bootstrap(resamples=200)


def clips(
    codec: str, draws: list[list[float | None]], *, bit_rate: float = 800.0, speakers: int = 0
) -> list[ClipScores]:
    """One clip for each list of the scores of its draws."""
    return [
        ClipScores(
            f"clip_{number}",
            codec=codec,
            speaker=f"s{number % speakers}" if speakers else "",
            seconds=1.0,
            bits=100,
            codewords=10,
            bit_rates=np.array([bit_rate]),
            delays_ms=np.zeros(1),
            signals=np.arange(len(values))[None],
            bit_errors=np.zeros((1, len(values))),
            erased_codewords=np.zeros((1, len(values)), dtype=int),
            scores=[Scores({"stoi": v}, {} if v is not None else {"stoi": "lost"}) for v in values],
        )
        for number, values in enumerate(draws)
    ]


def compare(metric: SpeechMetric = STOI(), /, **by_codec: list[ClipScores]) -> list[Difference]:  # noqa: B008
    rows = [
        row
        for found in by_codec.values()
        for row in summarise(found, CHANNELS, [metric], repeats=len(found[0].signals[0]), bootstrap=BOOTSTRAP)
    ]
    return differences(by_codec, rows, CHANNELS, [metric], bootstrap=BOOTSTRAP)


def test_a_draw_without_a_score_counts_as_the_worst() -> None:
    """That a codec has no score for its worst draw is no win, and for its best draw a loss."""
    a = clips("a", [[0.9, 0.8, 0.3]] * 8)
    for missing, difference in (([0.9, 0.8, None], -0.1), ([None, 0.8, 0.3], -0.3)):
        (row,) = compare(a=a, b=clips("b", [missing] * 8))
        assert (row.difference, row.low, row.high) == pytest.approx([difference] * 3)
        assert (row.pairs, row.draws, row.unpaired) == (8, 16, 8)
    text = format_differences([row], [STOI()], confidence=0.95)
    assert "8 of 24 draws lack a score of either codec and count with the worst" in text
    (both,) = compare(a=clips("a", [[None]] * 8), b=clips("b", [[None]] * 8))
    assert (both.difference, both.draws, both.unpaired) == (0, 0, 8)


def test_without_a_worst_value_there_is_no_difference() -> None:
    endless = STOI()
    endless.worst = None
    (row,) = compare(endless, a=clips("a", [[0.9, 0.8]] * 8), b=clips("b", [[0.9, 0.8]] * 7 + [[0.9, None]]))
    assert np.isnan([row.difference, row.low, row.high]).all()
    assert (row.pairs, row.draws, row.unpaired) == (0, 15, 1)
    text = format_differences([row], [endless], confidence=0.95)
    assert "none" in text.splitlines()[3] and "so there is no difference" in text


def test_a_difference_of_a_withheld_mean_is_withheld() -> None:
    """Behind this channel, `b` has no speech left: its PESQ may be higher, and says nothing."""
    found = {name: clips(name, [[stoi]] * 8) for name, stoi in (("a", 0.6), ("b", 0.3))}
    for name, pesq in (("a", 1.2), ("b", 1.9)):
        for clip in found[name]:
            clip.scores[0].values["pesq_wb"] = pesq
    metrics = [PESQ(), STOI()]
    rows, (pesq_gap, stoi_gap) = compare_all(found, CHANNELS, metrics, repeats=1, bootstrap=BOOTSTRAP)
    assert np.isnan(pesq_gap.difference) and pesq_gap.withheld == rows[2].withheld and "PESQ says" in rows[2].withheld
    assert stoi_gap.difference == pytest.approx(-0.3) and stoi_gap.withheld == ""
    text = format_differences([pesq_gap, stoi_gap], metrics, confidence=0.95)
    assert "–" in text.splitlines()[3] and text.count("PESQ says nothing") == 1


def test_intervals_resample_speakers() -> None:
    generator = np.random.default_rng(1)
    gap = 0.1 + 0.1 * np.tile(generator.standard_normal(8), 5)  # each speaker's five clips have one difference
    pairs = [
        (clips("a", [[0.2]] * 40, speakers=speakers), clips("b", [[0.2 + g] for g in gap], speakers=speakers))
        for speakers in (0, 8)
    ]
    (alone,), (together,) = (compare(a=a, b=b) for a, b in pairs)
    assert together.high - together.low > 2 * (alone.high - alone.low)


def test_where_neither_direction_is_better_there_is_no_star() -> None:
    values = np.linspace(0.3, 0.5, 8)
    a, b = clips("a", [[0.1]] * 8), clips("b", [[v] for v in values])
    neither = STOI()
    neither.higher_is_better = None
    (row,) = compare(a=a, b=b)
    assert "*" in format_differences([row], [STOI()], confidence=0.95).splitlines()[3]
    assert "*" not in format_differences([row], [neither], confidence=0.95).splitlines()[3]


def test_differences_and_their_intervals_are_those_of_the_pairs() -> None:
    generator = np.random.default_rng(0)
    base, gap = generator.random(40) / 2, 0.1 + 0.05 * generator.standard_normal(40)
    (row,) = compare(a=clips("a", [[v] for v in base]), b=clips("b", [[v] for v in base + gap]))
    assert row.difference == pytest.approx(gap.mean())
    error = 1.96 * gap.std(ddof=1) / 40**0.5  # of the pairs, far below the spread of the clips
    assert row.low == pytest.approx(gap.mean() - error, abs=0.3 * error)
    assert row.high == pytest.approx(gap.mean() + error, abs=0.3 * error)
    assert "*" in format_differences([row], [STOI()], confidence=0.95).splitlines()[3]


def test_two_pairs_are_too_few_for_a_star() -> None:
    (row,) = compare(a=clips("a", [[0.1], [0.2]]), b=clips("b", [[0.3], [0.401]]))
    assert row.low > 0
    lines = format_differences([row], [STOI()], confidence=0.95).splitlines()
    assert "*" not in lines[3]
    assert lines[-1].startswith("Fewer than 6 clips:")


def test_baselines_have_the_same_rate_where_there_is_one() -> None:
    rates = {"a": 800.0, "b": 801.0, "c": 1600.0, "d": 1602.0, "e": 6000.0}
    assert [baseline_of(name, rates) for name in rates] == ["a", "a", "c", "c", "a"]
    a, e = clips("a", [[0.5]] * 6), clips("e", [[0.6]] * 6, bit_rate=6000.0)
    (row,) = compare(a=a, e=e)
    assert not row.equal_rate
    assert "(6 : 0.8)" in format_differences([row], [STOI()], confidence=0.95)
