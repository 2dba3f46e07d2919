"""Encoders of voices: Resemblyzer's, whose weights come in its wheel, and x-vectors of the transformers library."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np

from callbacks.metrics.packages import imported, named_after
from callbacks.metrics.resampling import at_16_khz, resample


class SpeakerEncoder(ABC):
    """Turns speech into an embedding of its speaker; pickled to scoring processes.

    Attributes:
        name: identifier for files and loggers, of letters, digits and underscores.
        label: as printed in tables.
        least: the least cosine that two embeddings can have.
    """

    name: str
    label: str
    least: float = -1.0

    @abstractmethod
    def embedding(self, signal: np.ndarray, sample_rate: int) -> np.ndarray | None:
        """Embedding [D] of a float64 signal [T], or None where no voice is found; a function of the signal alone."""


class Resemblyzer(SpeakerEncoder):
    """The GE2E encoder (Wan et al. 2018) of the package Resemblyzer, with its wheel's weights; no network is needed.

    Its own steps: level raised to -30 dBFS, pauses shortened by WebRTC's voice detector, windows of 1.6 s averaged.
    Embeddings have no negative entries, so the least cosine is 0. Apache-2.0.

    Raises:
        MissingDependency: resemblyzer is not installed.
    """

    name, label, least = "resemblyzer", "Resemblyzer", 0.0

    def __init__(self) -> None:
        _resemblyzer()

    def embedding(self, signal: np.ndarray, sample_rate: int) -> np.ndarray | None:
        package, encoder = _resemblyzer(), _voice_encoder()
        with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            voiced = package.preprocess_wav(resample(signal, sample_rate, 16_000).astype(np.float32))
            if voiced.size == 0:
                return None
            return np.asarray(encoder.embed_utterance(voiced), dtype=np.float64)


class TransformersXVector(SpeakerEncoder):
    """A speaker verification model of the transformers library (AudioXVector), such as WavLM's.

    Args:
        model: local folder as `save_pretrained` writes it, with its feature extractor, or a hub id such as
            `microsoft/wavlm-base-plus-sv`.
        device: where it runs; several scoring processes share a GPU's memory.

    Raises:
        UserError: transformers is missing, or no such model can be read.
    """

    def __init__(self, model: str, *, device: str = "cpu") -> None:
        imported("TransformersXVector", "hf", "transformers")
        self.model, self.device = model, device
        self.name, self.label = named_after(model)

    def embedding(self, signal: np.ndarray, sample_rate: int) -> np.ndarray | None:
        import torch

        extractor, network = _x_vectors(self.model, self.device)
        inputs = extractor(at_16_khz(signal, sample_rate), sampling_rate=16_000, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            try:
                found = network(**inputs).embeddings[0]
            except RuntimeError:  # fewer samples than the convolutions need
                return None
        return found.double().cpu().numpy()


def _resemblyzer() -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it imports names that SciPy and setuptools will remove
        (package,) = imported("Resemblyzer", "speaker", "resemblyzer")
    return package


@lru_cache(maxsize=1)
def _voice_encoder() -> Any:
    return _resemblyzer().VoiceEncoder("cpu", verbose=False)


@lru_cache(maxsize=2)
def _x_vectors(model: str, device: str) -> tuple[Any, Any]:
    from codec.errors import UnreadableFile, first_line

    try:
        import torch
        from transformers import AutoFeatureExtractor, AutoModelForAudioXVector

        network = AutoModelForAudioXVector.from_pretrained(model, dtype=torch.float32)
        return AutoFeatureExtractor.from_pretrained(model), network.eval().to(device)
    except Exception as error:  # the hub, the readers and the models raise many kinds
        remedy = "give a local folder of save_pretrained with its feature extractor, or a hub id within reach"
        what = "No speaker encoder can be read from"
        raise UnreadableFile(what, model, f"({first_line(error)})", remedy) from error
