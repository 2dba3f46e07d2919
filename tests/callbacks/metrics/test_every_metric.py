"""Every metric answers every pair of signals with a value or a reason, so that no clip is lost without a word."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from callbacks.metrics import TorchMetric
from callbacks.scoring.signals import score
from tests.benchmarks.channel_evaluation import every_metric
from tests.support.codec_fakes import RATE
from tests.support.speech import speech_like

SPEECH = speech_like(0, 1.2)
GENERATOR = np.random.default_rng(0)
NOISE = (0.1 * GENERATOR.standard_normal(len(SPEECH))).astype(np.float32)
CLICK = np.zeros_like(SPEECH)
CLICK[len(CLICK) // 2] = 0.5
PAIRS = {
    "speech": (SPEECH, SPEECH + 0.1 * NOISE),
    "noise for speech": (SPEECH, NOISE),
    "speech for noise": (NOISE, SPEECH),
    "silence": (SPEECH, 0 * SPEECH),
    "silent reference": (0 * SPEECH, SPEECH),
    "nearly silent": (SPEECH, 1e-5 * SPEECH),
    "a click": (SPEECH, CLICK),
    "a click for reference": (CLICK, SPEECH),
    "not a number": (SPEECH, np.where(NOISE > 0, np.nan, SPEECH)),
    "infinite": (SPEECH, np.where(NOISE > 0.2, np.inf, SPEECH)),
    "beyond full scale": (SPEECH, 20 * SPEECH),
    "empty": (SPEECH[:0], SPEECH[:0]),
    "one sample": (SPEECH[:1], SPEECH[:1]),
    "ten samples": (SPEECH[100:110], SPEECH[100:110] + 0.01),
    "20 ms": (SPEECH[4000:4320], NOISE[:320]),
    "100 ms": (SPEECH[4000:5600], SPEECH[4000:5600] + NOISE[:1600]),
    "300 ms": (SPEECH[4000:8800], SPEECH[4000:8800] + NOISE[:4800]),
}


@pytest.fixture(scope="module")
def metrics() -> list:
    return [*every_metric(), TorchMetric("torchmetrics.audio.SignalDistortionRatio", name="sdr")]


@pytest.mark.parametrize("rate", [RATE, 24_000], ids=["16k", "24k"])
@pytest.mark.parametrize("pair", list(PAIRS))
def test_a_value_or_a_reason(metrics: list, pair: str, rate: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the packages, about such signals
        found = score(metrics, *PAIRS[pair], sample_rate=rate, transcript="what is said")
    names = {metric.name for metric in metrics}
    assert set(found.values) == names
    for name, value in found.values.items():
        assert (value is None) == (name in found.reasons)
        assert value is None or np.isfinite(value)
    assert all(reason and "\n" not in reason for reason in found.reasons.values())
    if pair in ("silence", "not a number", "empty"):
        assert all(found.values[metric.name] is None for metric in metrics if not metric.scores_silence)
    if pair == "speech":
        assert set(found.reasons) <= {metric.name for metric in metrics if metric.pooled}  # which may hear no words
