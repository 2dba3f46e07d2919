"""Predicted opinions, ViSQOL, speaker similarity and torchmetrics: the values of their packages, and what has none."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torchmetrics.audio import ScaleInvariantSignalDistortionRatio

from callbacks.metrics import (
    DNSMOS,
    SISDR,
    UTMOS,
    DistillMOS,
    Resemblyzer,
    SpeakerEncoder,
    SpeakerSimilarity,
    TorchMetric,
    Unscorable,
    ViSQOL,
)
from callbacks.scoring.signals import score
from codec.errors import InvalidValue, UnreadableFile
from tests.support.codec_fakes import RATE
from tests.support.speech import speech_like

SPEECH = speech_like(0, 2.5)
DEGRADED = (SPEECH + 0.03 * np.random.default_rng(0).standard_normal(len(SPEECH))).astype(np.float32).clip(-1, 1)


@pytest.mark.parametrize(
    ("scale", "column"),
    [("overall", "ovrl_mos"), ("signal", "sig_mos"), ("background", "bak_mos"), ("p808", "p808_mos")],
)
def test_dnsmos_equals_the_package(scale: str, column: str) -> None:
    from speechmos import dnsmos

    assert DNSMOS(scale)(SPEECH, DEGRADED, RATE) == pytest.approx(dnsmos.run(DEGRADED, RATE)[column], abs=1e-5)


def test_distillmos_equals_the_package() -> None:
    from distillmos import ConvTransformerSQAModel

    model = ConvTransformerSQAModel().eval()
    with torch.no_grad():
        expected = float(model(torch.from_numpy(DEGRADED)[None])[0])
    assert DistillMOS()(SPEECH, DEGRADED, RATE) == pytest.approx(expected, abs=1e-5)


def test_visqol_equals_the_package() -> None:
    import visqol

    measure = visqol.VisqolApi()
    measure.create(mode="speech", use_lattice_model=False)
    expected = measure.measure_from_arrays(SPEECH.astype(float), DEGRADED.astype(float), RATE).moslqo
    assert ViSQOL()(SPEECH, DEGRADED, RATE) == expected
    assert ViSQOL()(SPEECH, SPEECH, RATE) > expected


def test_visqol_refuses_what_is_shorter_than_its_patches() -> None:
    with pytest.raises(Unscorable, match="too short"):
        ViSQOL()(SPEECH[:400], DEGRADED[:400], RATE)


def test_similarity_equals_the_package() -> None:
    metric = SpeakerSimilarity()  # which imports the package, whose own imports warn
    import resemblyzer

    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)
    first, second = (encoder.embed_utterance(resemblyzer.preprocess_wav(x)) for x in (SPEECH, DEGRADED))
    cosine = float(first.astype(float) @ second / (np.linalg.norm(first) * np.linalg.norm(second)))
    assert metric(SPEECH, DEGRADED, RATE) == pytest.approx(cosine, abs=1e-6)
    assert metric(SPEECH, SPEECH, RATE) == pytest.approx(1)
    assert (metric.name, metric.worst) == ("sim", Resemblyzer.least)
    again = pickle.loads(pickle.dumps(metric))
    assert again(SPEECH, DEGRADED, RATE) == metric(SPEECH, DEGRADED, RATE)


class Voiceless(SpeakerEncoder):
    name, label = "voiceless", "Voiceless"

    def embedding(self, signal: np.ndarray, sample_rate: int) -> np.ndarray | None:
        return None if signal[0] > 0.5 else np.array([signal[1], 1.0])


def test_no_voice_is_a_reason_and_counts_the_least_cosine() -> None:
    metric = SpeakerSimilarity(Voiceless())
    pair = np.array([0.0, 1.0, 0.2]), np.array([0.9, -1.0, 0.2])
    with pytest.raises(Unscorable, match="no voice in the degraded signal"):
        metric(*pair, RATE)
    with pytest.raises(Unscorable, match="no voice in the reference"):
        metric(*reversed(pair), RATE)
    assert metric.counted(np.array([np.nan, 0.5])).tolist() == [-1.0, 0.5]
    assert metric(pair[0], np.array([0.0, -1.0, 0.2]), RATE) == pytest.approx(0.0)


def test_resemblyzer_finds_no_voice_in_a_click() -> None:
    click = np.zeros(RATE)
    click[100] = 0.5
    assert Resemblyzer().embedding(click, RATE) is None


def test_torchmetrics_by_class_path() -> None:
    path = "torchmetrics.audio.ScaleInvariantSignalDistortionRatio"
    metric = TorchMetric(path, {"zero_mean": True}, unit="dB")
    expected = float(ScaleInvariantSignalDistortionRatio(zero_mean=True)(*map(torch.from_numpy, (DEGRADED, SPEECH))))
    assert metric(SPEECH, DEGRADED, RATE) == pytest.approx(expected, abs=1e-4)
    assert metric(SPEECH, SPEECH * 0.5 + DEGRADED * 0.5, RATE) > expected  # nothing is left of the pair before
    assert metric(SPEECH, DEGRADED, RATE) == pytest.approx(SISDR()(SPEECH, DEGRADED, RATE), abs=0.2)
    assert (metric.higher_is_better, metric.name) == (True, "scaleinvariantsignaldistortionratio")
    assert pickle.loads(pickle.dumps(metric))(SPEECH, DEGRADED, RATE) == metric(SPEECH, DEGRADED, RATE)


def test_torchmetrics_at_another_rate() -> None:
    metric = TorchMetric("torchmetrics.audio.SignalNoiseRatio", rate=8_000)
    assert metric(SPEECH, DEGRADED, RATE) > TorchMetric("torchmetrics.audio.SignalNoiseRatio")(SPEECH, DEGRADED, RATE)


@pytest.mark.parametrize(
    ("path", "arguments", "says"),
    [
        ("torchmetrics.audio.Nothing", None, "Nothing"),
        ("nowhere.Metric", None, "nowhere"),
        ("torchmetrics.audio.SignalNoiseRatio", {"fs": 1}, "fs"),
        ("torch.nn.Identity", None, "has no update"),
        ("word", None, "cannot be made"),
        ("torchmetrics.text.WordErrorRate", None, "takes no two signals"),
    ],
)
def test_what_is_no_metric(path: str, arguments: dict[str, int] | None, says: str) -> None:
    with pytest.raises(InvalidValue, match=says):
        TorchMetric(path, arguments)


HUBCONF = """
import torch

class Fake(torch.nn.Module):
    def forward(self, wave, rate):
        assert wave.ndim == 2 and rate == 16000
        return 1 + 4 * wave.abs().amax(1)

def utmos22_strong(pretrained=True, **options):
    return Fake()
"""


def test_utmos_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "hubconf.py").write_text(HUBCONF)
    metric = UTMOS(str(tmp_path))
    assert metric(SPEECH, 0.5 * DEGRADED, RATE) == pytest.approx(1 + 2 * float(np.abs(DEGRADED).max()))
    with pytest.raises(UnreadableFile, match="No UTMOS can be loaded from"):
        UTMOS(str(tmp_path.parent))(SPEECH, DEGRADED, RATE)


@pytest.mark.parametrize("make", [DNSMOS, DistillMOS, ViSQOL], ids=["dnsmos", "distillmos", "visqol"])
def test_silence_counts_the_worst_and_meaning_needs_speech(make: type) -> None:
    metric = make()
    found = score([metric], SPEECH, 0 * SPEECH, sample_rate=RATE)
    assert found.reasons == {metric.name: "degraded signal is silent"}
    assert metric.counted(np.array([np.nan])).tolist() == [1.0]
    assert metric.needs.metric == "stoi"


def test_scoring_other_rates_resamples() -> None:
    from callbacks.metrics.resampling import resample

    pair = [resample(signal.astype(float), RATE, 24_000) for signal in (SPEECH, DEGRADED)]
    for metric in (DistillMOS(), DNSMOS(), SpeakerSimilarity()):
        assert metric(*pair, 24_000) == pytest.approx(metric(SPEECH, DEGRADED, RATE), abs=0.15)


def test_the_packages_are_loaded_when_a_metric_is_made_alone() -> None:
    import subprocess

    code = "import sys, callbacks.metrics; print(sorted({'torch', 'librosa', 'transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
