"""Metrics equal their reference packages, and say why they cannot score."""

from __future__ import annotations

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from pesq import pesq
from pystoi import stoi
from torchmetrics.functional.audio import scale_invariant_signal_distortion_ratio

from callbacks.metrics import PESQ, SISDR, STOI, LevelDifference, MelDistance, SpeechMetric, Unscorable, default_metrics
from callbacks.metrics.resampling import resample
from tests.support.codec_fakes import RATE
from tests.support.speech import speech_like

REFERENCE = speech_like(0, 2.5)
DEGRADED = REFERENCE + 0.03 * np.random.default_rng(0).standard_normal(len(REFERENCE)).astype(np.float32)


def reason(metric: SpeechMetric, reference: np.ndarray, degraded: np.ndarray) -> str:
    with pytest.raises(Unscorable) as caught:
        metric(reference, degraded, RATE)
    return caught.value.reason


@pytest.mark.parametrize("mode", ["wb", "nb"])
def test_pesq_equals_the_package(mode: str) -> None:
    assert PESQ(mode)(REFERENCE, DEGRADED, RATE) == pytest.approx(pesq(RATE, REFERENCE, DEGRADED, mode), abs=1e-6)


def test_pesq_of_a_perfect_signal() -> None:
    assert PESQ("wb")(REFERENCE, REFERENCE, RATE) == pytest.approx(4.64, abs=0.01)
    assert PESQ("nb")(REFERENCE, REFERENCE, RATE) == pytest.approx(4.55, abs=0.01)


def test_pesq_resamples_other_rates() -> None:
    reference, degraded = (resample(signal.astype(float), RATE, 24_000) for signal in (REFERENCE, DEGRADED))
    assert PESQ("wb")(reference, degraded, 24_000) == pytest.approx(PESQ("wb")(REFERENCE, DEGRADED, RATE), abs=0.1)


@pytest.mark.parametrize("extended", [False, True])
@pytest.mark.parametrize("rate", [10_000, 16_000, 24_000])
def test_stoi_equals_the_package(extended: bool, rate: int) -> None:
    reference, degraded = (signal.astype(np.float64) for signal in (REFERENCE, DEGRADED))
    expected = stoi(reference, degraded, rate, extended=extended)
    assert STOI(extended)(reference, degraded, rate) == pytest.approx(expected, abs=1e-7)
    assert 0 < expected < 0.999


@pytest.mark.filterwarnings("ignore:Not enough STFT frames")
@pytest.mark.parametrize("samples", range(6_000, 9_000, 231))
def test_stoi_refuses_exactly_what_the_package_cannot_score(samples: int) -> None:
    reference, degraded = (signal[:samples].astype(np.float64) for signal in (REFERENCE, DEGRADED))
    expected = stoi(reference, degraded, RATE)
    if expected == 1e-5:
        assert "too few frames" in reason(STOI(), reference, degraded)
    else:
        assert STOI()(reference, degraded, RATE) == pytest.approx(expected, abs=1e-7)


def test_si_sdr_equals_torchmetrics() -> None:
    offset = DEGRADED + 0.1  # tells removal of the mean from none
    expected = scale_invariant_signal_distortion_ratio(
        torch.from_numpy(offset).double(), torch.from_numpy(REFERENCE).double()
    )
    assert SISDR()(REFERENCE, offset, RATE) == pytest.approx(float(expected), abs=1e-9)
    assert SISDR()(REFERENCE, 0.1 * REFERENCE, RATE) > 60


def test_mel_distance_measures_decibels() -> None:
    metric = MelDistance()
    noise = 0.1 * np.random.default_rng(1).standard_normal(RATE)
    assert metric(noise, noise, RATE) == 0
    assert metric(noise, 2 * noise, RATE) == pytest.approx(6.02, abs=0.05)
    assert np.isfinite(metric(REFERENCE, DEGRADED, 48_000))


@pytest.mark.parametrize("metric", [*default_metrics(), SISDR()], ids=lambda metric: metric.name)
def test_every_metric_refuses_what_has_no_score(metric: SpeechMetric) -> None:
    silence = np.zeros_like(REFERENCE)
    broken = REFERENCE.copy()
    broken[100] = np.nan
    assert reason(metric, silence, DEGRADED) == "reference is silent"
    assert reason(metric, silence, silence) == "reference is silent"
    if not metric.scores_silence:
        assert reason(metric, REFERENCE, silence + 0.1) == "degraded signal is silent"
    assert reason(metric, REFERENCE, broken) == "degraded signal is not finite"
    assert reason(metric, REFERENCE[:0], REFERENCE[:0]) == "reference is empty"
    with pytest.raises(ValueError, match="same T"):
        metric(REFERENCE, DEGRADED[:-1], RATE)
    assert pickle.loads(pickle.dumps(metric)).name == metric.name


@pytest.mark.parametrize("extended", [False, True])
def test_silence_scores_what_the_package_gives_it(extended: bool) -> None:
    silence = np.zeros(len(REFERENCE))
    assert stoi(REFERENCE.astype(np.float64), silence, RATE, extended=extended) == pytest.approx(0, abs=0.02)
    for level in (0.0, 0.1, 1e-8):
        assert STOI(extended)(REFERENCE, silence + level, RATE) == 0
    assert "too few frames" in reason(STOI(extended), REFERENCE[:4000], silence[:4000])


def test_the_mel_distance_of_silence_is_the_level_of_speech_above_the_floor() -> None:
    found = MelDistance()(REFERENCE, np.zeros_like(REFERENCE), RATE)
    assert 10 < found < 80
    assert MelDistance()(REFERENCE, 0.01 * REFERENCE, RATE) < found


def test_which_metrics_have_a_worst_value() -> None:
    worst = {metric.name: metric.worst for metric in default_metrics()}
    assert worst == {"pesq_wb": 1.0, "pesq_nb": 1.0, "stoi": 0.0, "estoi": 0.0, "mel": None, "level": None}
    noise = np.random.default_rng(0).standard_normal(len(REFERENCE))
    assert all(PESQ(mode)(REFERENCE, noise, RATE) > 1.0 for mode in ("wb", "nb"))


def test_values_count_no_worse_than_the_worst() -> None:
    values = np.array([0.7, np.nan, -0.1])
    assert STOI().counted(values).tolist() == [0.7, 0.0, 0.0]
    assert np.array_equal(SISDR().counted(values), values, equal_nan=True)
    lower = MelDistance()
    lower.worst = 80.0
    assert lower.counted(np.array([3.0, np.nan, 90.0])).tolist() == [3.0, 80.0, 80.0]


def test_the_level_difference_is_a_gain() -> None:
    metric = LevelDifference()
    assert metric(REFERENCE, REFERENCE, RATE) == 0
    assert metric(REFERENCE, -0.5 * REFERENCE, RATE) == pytest.approx(-6.0206, abs=1e-4)
    assert metric(REFERENCE, 2 * REFERENCE[::-1], RATE) == pytest.approx(6.0206, abs=1e-4)
    assert (metric.higher_is_better, metric.direction, metric.label_with_unit) == (
        None, "0 is best", "level difference (dB)",
    )  # fmt: skip
    assert reason(metric, REFERENCE, np.zeros_like(REFERENCE)) == "degraded signal is silent"


def test_short_signals_are_unscorable_not_tiny() -> None:
    assert "too few frames" in reason(STOI(), REFERENCE[:4000], DEGRADED[:4000])
    assert "STOI" in reason(STOI(extended=True), REFERENCE[:50], DEGRADED[:50])
    assert "PESQ-WB" in reason(PESQ("wb"), REFERENCE[:1000], DEGRADED[:1000])


def test_pesq_without_an_utterance_is_unscorable() -> None:
    burst = np.zeros(RATE)
    burst[8000:8300] = DEGRADED[:300]
    assert reason(PESQ("nb"), burst, DEGRADED[:RATE]) == "PESQ-NB: No utterances detected"


def test_unknown_pesq_mode_names_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="'wb' or 'nb'"):
        PESQ("swb")  # type: ignore[arg-type]


def test_scoring_imports_neither_torch_nor_lightning() -> None:
    program = (
        "import callbacks, callbacks.metrics, callbacks.scoring.worker, callbacks.scoring.pool, sys\n"
        "from callbacks import PESQ, ScoringPool\n"
        "callbacks.metrics.default_metrics()\n"
        "assert not {'torch', 'lightning', 'matplotlib'} & set(sys.modules), 'heavy import'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=600)


def test_the_package_exports_lazily() -> None:
    import callbacks

    assert callbacks.ChannelEvaluation.__name__ == "ChannelEvaluation"
    assert set(callbacks.__all__) <= set(dir(callbacks))
    assert all(getattr(callbacks, name) is not None for name in callbacks.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'Channels'"):
        callbacks.Channels  # noqa: B018
