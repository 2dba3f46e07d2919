"""Word and character error rates of a recogniser behind the codec, against a transcript or its text of the original."""

from __future__ import annotations

import unicodedata
from abc import abstractmethod
from typing import Any, Literal

import numpy as np

from callbacks.metrics.base import SpeechMetric, Unscorable, is_silent
from callbacks.metrics.checks import require
from callbacks.metrics.packages import imported
from callbacks.metrics.recent import Recent
from callbacks.metrics.recognition.recognisers import PocketSphinx, Recogniser

Against = Literal["original", "transcript"]


class ErrorRate(SpeechMetric):
    """Edits between a reference's units (words or characters) and the recogniser's, over the reference's units.

    The rate of a clip is that of `jiwer`; the rate over clips is pooled, all edits over all units, as tables of speech
    recognition have it. It can exceed 1. A silent signal has no words: 1. Texts are compared after `normal_text`.

    Args:
        recogniser: `PocketSphinx()` if None.
        against: "original", the recogniser's own text of the original: it measures what the codec changes for this
            recogniser, in any language that it knows; or "transcript", the text of the corpus: it measures
            intelligibility as the field's tables do. Clips without a transcript have no such score and count nothing.
    """

    higher_is_better = False
    worst = 1.0
    scores_silence = True
    pooled = True
    short: str

    def __init__(self, recogniser: Recogniser | None = None, *, against: Against = "original") -> None:
        require(against in ("original", "transcript"), "against", repr(against), "must be 'original' or 'transcript'")
        self._jiwer()
        self.recogniser = PocketSphinx() if recogniser is None else recogniser
        self.against = against
        parts = [self.short, *(["original"] if against == "original" else [])]
        parts += [] if isinstance(self.recogniser, PocketSphinx) else [self.recogniser.name]
        self.name = "_".join(parts)
        subject = " to the original's text" if against == "original" else ""
        self.label = f"{self.short.upper()}{subject} ({self.recogniser.label})"

    def weight(self, reference: np.ndarray, sample_rate: int, transcript: str) -> float:
        """Number of units of the reference text; 0 where there is none."""
        if reference.size == 0 or not np.isfinite(reference).all() or is_silent(reference):
            return 0.0
        return float(self.units(self._expected(reference.astype(np.float64), sample_rate, transcript)))

    def score_said(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int, transcript: str) -> float:
        if self.against == "transcript" and not transcript:
            raise Unscorable(f"{self.label}: the clip has no transcript")
        expected = self._expected(reference, sample_rate, transcript)
        if not expected:
            source = "transcript" if self.against == "transcript" else "recognised text of the original"
            raise Unscorable(f"{self.label}: no words in the {source}")
        return self.rate(expected, self._heard(degraded, sample_rate))

    def score(self, reference: np.ndarray, degraded: np.ndarray, sample_rate: int) -> float:
        return self.score_said(reference, degraded, sample_rate, "")

    def _expected(self, reference: np.ndarray, sample_rate: int, transcript: str) -> str:
        text = transcript if self.against == "transcript" else self._heard(reference, sample_rate)
        return normal_text(text)

    def _heard(self, signal: np.ndarray, sample_rate: int) -> str:
        """The recogniser's text, kept for the metrics of one recogniser and for the draws of one clip."""
        return "" if is_silent(signal) else normal_text(_recent(self.recogniser)(signal, sample_rate))

    def _jiwer(self) -> Any:
        (jiwer,) = imported(type(self).__name__, "asr", "jiwer")
        return jiwer

    @abstractmethod
    def units(self, text: str) -> int:
        """Number of units in a text."""

    @abstractmethod
    def rate(self, expected: str, heard: str) -> float:
        """The rate of two normal texts, the first not empty."""


class WordErrorRate(ErrorRate):
    """Word error rate of a recogniser behind the codec; see `ErrorRate`."""

    short = "wer"

    def units(self, text: str) -> int:
        return len(text.split())

    def rate(self, expected: str, heard: str) -> float:
        return self._jiwer().wer(expected, heard)


class CharacterErrorRate(ErrorRate):
    """Character error rate, with the spaces between words as characters; see `ErrorRate`."""

    short = "cer"

    def units(self, text: str) -> int:
        return len(text)

    def rate(self, expected: str, heard: str) -> float:
        return self._jiwer().cer(expected, heard)


def normal_text(text: str) -> str:
    """Lower case, without punctuation but for apostrophes inside words, words apart by one space (after NFKC).

    Letters, their marks and digits stay, whatever the script; numbers are not spelled out.

    >>> normal_text("“Forty-two  lines,” it\u2019s said.")
    "forty two lines it's said"
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold()).replace("\u2019", "'")
    kept = "".join(c if c == "'" or unicodedata.category(c)[0] in "LMN" else " " for c in text)
    return " ".join(word for part in kept.split() if (word := part.strip("'")))


_RECENT: dict[str, Recent[str]] = {}


def _recent(recogniser: Recogniser) -> Recent[str]:
    """The texts of the last signals: one store for all metrics of a process whose recognisers have equal settings."""
    key = f"{type(recogniser).__module__}.{type(recogniser).__qualname__} {sorted(vars(recogniser).items())}"
    return _RECENT.setdefault(key, Recent(recogniser.text))
