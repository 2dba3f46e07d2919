"""Word and character error rates equal jiwer's, pool over clips, and say what has no score."""

from __future__ import annotations

import pickle

import jiwer
import numpy as np
import pytest

from callbacks.metrics import STOI, CharacterErrorRate, PocketSphinx, Recogniser, Unscorable, WordErrorRate
from callbacks.metrics.recognition import ErrorRate, normal_text
from callbacks.scoring.bootstrap import Bootstrap
from callbacks.scoring.pool import ScoringPool
from callbacks.scoring.pooling import pooled_terms
from callbacks.scoring.scores import ClipScores, summarise
from callbacks.scoring.signals import score
from codec.channels import BinarySymmetricChannel
from codec.errors import InvalidValue
from tests.support.codec_fakes import RATE
from tests.support.speech import speech_like

SPEECH = speech_like(0, 1.0)
TEXT = "Six spoons of fresh snow peas, five thick slabs of blue cheese"


class Scripted(Recogniser):
    """Hears what is written for the first sample of a signal."""

    name, label = "scripted", "Scripted"

    def __init__(self, texts: dict[float, str]) -> None:
        self.texts = texts

    def text(self, signal: np.ndarray, sample_rate: int) -> str:
        return self.texts[round(float(signal[0]), 3)]


def marked(number: float) -> np.ndarray:
    return np.concatenate([[number], SPEECH[1:]]).astype(np.float64)


@pytest.mark.parametrize(
    "heard", [TEXT, "six spoons of snow peas five thick slabs of cheese", "a", "", "six six spoons and " + TEXT]
)
def test_rates_are_those_of_jiwer_after_normalising(heard: str) -> None:
    recogniser = Scripted({0.1: "", 0.2: heard})
    pair = marked(0.1), marked(0.2)
    for metric, package in ((WordErrorRate, jiwer.wer), (CharacterErrorRate, jiwer.cer)):
        expected = package(normal_text(TEXT), normal_text(heard))
        assert metric(recogniser, against="transcript")(*pair, RATE, transcript=TEXT) == expected
    assert WordErrorRate(recogniser, against="transcript").weight(pair[0], RATE, TEXT) == 12
    assert CharacterErrorRate(recogniser, against="transcript").weight(pair[0], RATE, TEXT) == len(normal_text(TEXT))


def test_against_the_original_is_named_differently_and_needs_no_transcript() -> None:
    recogniser = Scripted({0.1: "one two three", 0.2: "one three"})
    metric = WordErrorRate(recogniser)
    assert (metric.name, WordErrorRate(recogniser, against="transcript").name) == (
        "wer_original_scripted",
        "wer_scripted",
    )
    assert metric(marked(0.1), marked(0.2), RATE, transcript=TEXT) == 1 / 3
    assert metric.label != WordErrorRate(recogniser, against="transcript").label


def test_a_recogniser_hears_each_signal_once_for_all_its_metrics() -> None:
    class Counting(Scripted):
        heard = 0

        def text(self, signal: np.ndarray, sample_rate: int) -> str:
            Counting.heard += 1
            return super().text(signal, sample_rate)

    recogniser = Counting({0.15: "one two", 0.25: "one", 0.35: "two"})
    metrics = [WordErrorRate(recogniser), CharacterErrorRate(recogniser), WordErrorRate(Counting(recogniser.texts))]
    for degraded in (0.25, 0.35):
        for metric in metrics:
            metric(marked(0.15), marked(degraded), RATE)
    assert Counting.heard == 3


@pytest.mark.parametrize(("text", "reason"), [("", "the clip has no transcript"), (" ... ", "no words in the")])
def test_without_words_there_is_no_score_and_no_weight(text: str, reason: str) -> None:
    metric = WordErrorRate(Scripted({0.1: "", 0.2: "one"}), against="transcript")
    with pytest.raises(Unscorable, match=reason):
        metric(marked(0.1), marked(0.2), RATE, transcript=text)
    assert metric.weight(marked(0.1), RATE, text) == 0
    with pytest.raises(Unscorable, match="no words in the recognised text of the original"):
        WordErrorRate(Scripted({0.1: "", 0.2: "one"}))(marked(0.1), marked(0.2), RATE)


def test_silence_has_no_words() -> None:
    metric = WordErrorRate(Scripted({0.1: "one two"}))
    assert metric(marked(0.1), np.zeros(len(SPEECH)), RATE) == 1
    assert metric.weight(np.zeros(9), RATE, "") == metric.weight(np.full(9, np.nan), RATE, "") == 0


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("“Forty-two  lines,” it\u2019s said.", "forty two lines it's said"),
        ("'Tis THE cats' home; A.B.", "tis the cats home a b"),
        ("ﬁne", "fine"),
        ("你好，世界 42%", "你好 世界 42"),
        ("snake_case", "snake case"),
        ("Straße", "strasse"),
        ("हिन्दी में बात", "हिन्दी में बात"),
        ("İstanbul", "i\u0307stanbul"),
        ("1,000.50 rock'n'roll", "1 000 50 rock'n'roll"),
        ("", ""),
    ],
)
def test_normal_text(written: str, normal: str) -> None:
    assert normal_text(written) == normal == normal_text(normal)


def clips(rates: list[list[float | None]], words: list[float], name: str) -> list[ClipScores]:
    found = []
    for number, (values, weight) in enumerate(zip(rates, words, strict=True)):
        draws = len(values)
        scores = [_scores(name, value, weight) for value in values]
        found.append(
            ClipScores(
                f"clip {number}", codec="", speaker="", seconds=1.0, bits=100, codewords=10,
                bit_rates=np.array([800.0]), delays_ms=np.zeros(1), signals=np.arange(draws)[None],
                bit_errors=np.zeros((1, draws)), erased_codewords=np.zeros((1, draws), dtype=np.int64), scores=scores,
            )
        )  # fmt: skip
    return found


def _scores(name: str, value: float | None, weight: float):
    from callbacks.scoring.signals import Scores

    return Scores({name: value}, {} if value is not None else {name: "why"}, {name: weight})


def summary(rates: list[list[float | None]], words: list[float]):
    metric = WordErrorRate(Scripted({}))
    channels = [BinarySymmetricChannel(0.0)]
    found = clips(rates, words, metric.name)
    return summarise(found, channels, [metric], repeats=len(rates[0]), bootstrap=Bootstrap(200))[0]


def test_the_rate_over_clips_is_of_all_words() -> None:
    texts = [("one two three four", "one three"), ("five", "five six seven eight"), ("a b c d e f g", "a b c d e f")]
    rates: list[list[float | None]] = [[jiwer.wer(*pair)] for pair in texts]
    row = summary(rates, [float(len(first.split())) for first, _ in texts])
    assert row.mean == pytest.approx(jiwer.wer([a for a, _ in texts], [b for _, b in texts]))
    assert row.mean != pytest.approx(np.mean([rate[0] for rate in rates]))


def test_a_clip_without_words_counts_nothing_and_a_failure_counts_all_its_words() -> None:
    row = summary([[0.5], [None], [0.25]], [4, 0, 4])
    assert (row.mean, row.unscorable, row.imputed) == (pytest.approx(3 / 8), 1, 0)
    row = summary([[0.5], [None], [0.25]], [4, 2, 4])
    assert (row.mean, row.unscorable, row.imputed) == (pytest.approx((2 + 2 + 1) / 10), 1, 1)
    assert np.isnan(summary([[None], [None]], [0, 0]).mean)
    assert np.isnan(summary([[0.5], [None]], [4, float("nan")]).mean)  # a process died before it could tell


def test_the_interval_of_a_pooled_rate_covers_it() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for seed in range(200):
        words = generator.integers(5, 30, size=40)
        edits = generator.binomial(words, np.clip(0.3 + 0.01 * (words - 17), 0.05, 0.9))  # long clips are harder
        interval = Bootstrap(200, seed=seed).means(pooled_terms(edits / words, words.astype(float))[None])
        truth = np.mean([w * np.clip(0.3 + 0.01 * (w - 17), 0.05, 0.9) for w in range(5, 30)]) / 17
        covered += bool(interval.low[0] <= truth <= interval.high[0])
    assert 182 <= covered <= 199  # 95 % of 200, within 2.6 standard deviations


def test_clips_without_words_do_not_narrow_the_interval() -> None:
    rates: list[list[float | None]] = [[0.2], [0.3], [0.6]]
    alone = summary(rates, [4, 5, 6])
    among = summary(rates + [[None]] * 40, [4, 5, 6] + [0] * 40)
    assert (among.mean, among.low, among.high) == pytest.approx((alone.mean, alone.low, alone.high))
    assert among.low < among.mean < among.high


def test_weights_one_leave_the_mean() -> None:
    values = np.random.default_rng(0).random(9)
    assert pooled_terms(values, np.ones(9)) == pytest.approx(values)


def test_processes_give_the_scores_and_the_weights() -> None:
    metrics = [WordErrorRate(), CharacterErrorRate(), WordErrorRate(against="transcript"), STOI()]
    degraded = SPEECH + 0.02 * np.random.default_rng(0).standard_normal(len(SPEECH)).astype(np.float32)
    pool = ScoringPool(metrics, 1)
    try:
        pool.submit(0, SPEECH, degraded, sample_rate=RATE, transcript=TEXT)
        found = pool.results()[0]
    finally:
        pool.close()
    alone = score(metrics, SPEECH, degraded, sample_rate=RATE, transcript=TEXT)
    assert found == alone and found.weights["wer"] == 12 and set(found.weights) == {m.name for m in metrics[:3]}


def test_pocketsphinx_equals_the_package_and_forgets_the_signal_before() -> None:
    from pocketsphinx import Decoder

    own = PocketSphinx()
    texts = []
    for number in range(2):
        signal = speech_like(number, 0.7).astype(np.float64)
        decoder = Decoder(samprate=16_000, loglevel="FATAL")
        decoder.start_utt()
        decoder.process_raw(np.round(signal.astype(np.float32) * 32767).astype("<i2").tobytes(), full_utt=True)
        decoder.end_utt()
        texts.append(decoder.hyp().hypstr if decoder.hyp() else "")
        assert own.text(signal, RATE) == texts[-1]
    assert pickle.loads(pickle.dumps(own)).text(speech_like(0, 0.7).astype(np.float64), RATE) == texts[0]


def test_wrong_arguments() -> None:
    with pytest.raises(InvalidValue, match="against 'both' must be 'original' or 'transcript'"):
        WordErrorRate(against="both")  # type: ignore[arg-type]
    assert issubclass(WordErrorRate, ErrorRate) and WordErrorRate(Scripted({})).pooled
