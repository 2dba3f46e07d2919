"""Paired differences: draws that both codecs have a score of, pairs counted, baselines by bit rate."""

from __future__ import annotations

import numpy as np
import pytest

from callbacks.channel.tables import format_differences
from callbacks.metrics import STOI
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.differences import baseline_of, differences
from callbacks.scoring.scores import ClipScores, summarise
from callbacks.scoring.signals import Scores
from codec.channels import BinarySymmetricChannel

CHANNELS = [BinarySymmetricChannel(0.1)]
BOOTSTRAP = Bootstrap(resamples=200)


def clips(codec: str, draws: list[list[float | None]], *, bit_rate: float = 800.0) -> list[ClipScores]:
    """One clip for each list of the scores of its draws."""
    return [
        ClipScores(
            f"clip_{number}",
            codec=codec,
            seconds=1.0,
            bits=100,
            codewords=10,
            bit_rates=np.array([bit_rate]),
            signals=np.arange(len(values))[None],
            bit_errors=np.zeros((1, len(values))),
            erased_codewords=np.zeros((1, len(values)), dtype=int),
            scores=[Scores({"stoi": v}, {} if v is not None else {"stoi": "lost"}) for v in values],
        )
        for number, values in enumerate(draws)
    ]


def compare(**by_codec: list[ClipScores]):
    rows = [
        row
        for found in by_codec.values()
        for row in summarise(found, CHANNELS, [STOI()], repeats=len(found[0].signals[0]), bootstrap=BOOTSTRAP)
    ]
    return differences(by_codec, rows, CHANNELS, [STOI()], bootstrap=BOOTSTRAP)


def test_a_draw_without_a_score_of_one_codec_is_left_out_for_both() -> None:
    """They agree wherever both have a score; that one has none for its worst draw is no win."""
    a = clips("a", [[0.9, 0.8, 0.1]] * 8)
    b = clips("b", [[0.9, 0.8, None]] * 8)
    (row,) = compare(a=a, b=b)
    assert (row.difference, row.low, row.high) == (0, 0, 0)
    assert (row.pairs, row.draws, row.unpaired) == (8, 16, 8)
    text = format_differences([row], [STOI()], confidence=0.95)
    assert "8 of 24 draws lack a score" in text and "*" not in text.splitlines()[3]


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
    (row,) = compare(a=clips("a", [[0.1], [0.2]]), b=clips("b", [[0.3], [0.5]]))
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
