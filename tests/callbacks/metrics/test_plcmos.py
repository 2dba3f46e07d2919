"""PLCMOS equals its package with a fixed generator, and depends on nothing but the signal."""

from __future__ import annotations

import sys
import warnings

import numpy as np
import pytest

from callbacks.metrics import PLCMOS, STOI, Unscorable
from callbacks.metrics.resampling import resample
from callbacks.scoring.pool import ScoringPool
from codec.errors import MissingDependency
from tests.support.codec_fakes import RATE
from tests.support.speech import speech_like

plcmos = pytest.importorskip("speechmos.plcmos")

SPEECH = speech_like(0, 1.5)
LOSSY = SPEECH.copy()
for start in range(2000, len(LOSSY), 6400):
    LOSSY[start : start + 1280] = 0  # four frames of 20 ms


def test_it_equals_the_package_after_its_seed_and_leaves_the_global_generator_alone() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # the package makes a number of an array
        np.random.seed(0)
        expected = plcmos.run(LOSSY.astype(np.float64), RATE)["plcmos"]
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    assert PLCMOS()(SPEECH, LOSSY, RATE) == pytest.approx(expected, abs=1e-4)
    assert np.array_equal(np.random.get_state()[1], before)


def test_it_hears_losses_and_no_reference() -> None:
    metric = PLCMOS()
    assert 1 <= metric(SPEECH, LOSSY, RATE) < metric(SPEECH, SPEECH, RATE) - 0.5 < 5
    assert metric(SPEECH, LOSSY, RATE) == metric(LOSSY[::-1], LOSSY, RATE)
    assert metric(SPEECH, 40 * SPEECH, RATE) == metric(SPEECH, np.clip(40 * SPEECH, -1, 1), RATE)


def test_other_rates_are_resampled() -> None:
    there = resample(LOSSY.astype(float), RATE, 24_000)
    assert PLCMOS()(there, there, 24_000) == pytest.approx(PLCMOS()(LOSSY, LOSSY, RATE), abs=0.2)


def test_a_score_is_the_same_in_any_order_and_process() -> None:
    metric = PLCMOS()
    alone = [metric(SPEECH, signal, RATE) for signal in (SPEECH, LOSSY)]
    assert [metric(SPEECH, signal, RATE) for signal in (LOSSY, SPEECH)] == alone[::-1]
    pool = ScoringPool([metric, STOI()], 1)
    try:
        for number, signal in enumerate((LOSSY, SPEECH)):
            pool.submit(number, SPEECH, signal, sample_rate=RATE)
        found = pool.results()
    finally:
        pool.close()
    assert [found[number].values["plcmos"] for number in (1, 0)] == alone


@pytest.mark.parametrize(
    ("signal", "why"), [(SPEECH[:1500], "PLCMOS: too short"), (0 * SPEECH, "degraded signal is silent")]
)
def test_what_has_no_score(signal: np.ndarray, why: str) -> None:
    with pytest.raises(Unscorable) as caught:
        PLCMOS()(SPEECH[: len(signal)], signal, RATE)
    assert caught.value.reason == why
    assert (PLCMOS.worst, PLCMOS.higher_is_better) == (1.0, True)


def test_noise_scores_high_so_that_it_is_withheld_without_speech() -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(len(SPEECH))
    assert PLCMOS()(SPEECH, noise, RATE) > 2 and PLCMOS.needs is not None and PLCMOS.needs.metric == "stoi"


def test_a_missing_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingDependency, match=r"needs the packages speechmos and onnxruntime.*\[mos\]"):
        PLCMOS()
