"""Speech recognisers, whose text word error rates compare: PocketSphinx with its own model, or any of transformers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np

from callbacks.metrics.packages import imported, named_after
from callbacks.metrics.resampling import at_16_khz


class Recogniser(ABC):
    """Turns speech into text. A subclass sets the names and implements `text`; it is pickled to scoring processes.

    Attributes:
        name: identifier for files and loggers, of letters, digits and underscores.
        label: as printed in tables.
    """

    name: str
    label: str

    @abstractmethod
    def text(self, signal: np.ndarray, sample_rate: int) -> str:
        """What is said in a float64 signal [T], audible or not; a function of the signal alone."""


class PocketSphinx(Recogniser):
    """CMU Sphinx (Huggins-Daines et al. 2006) with the US English model that its wheel brings; no network is needed.

    A recogniser of Gaussian mixtures, far behind those of today: its error rates are not those of the field's tables.
    It knows English alone. BSD licence, model included.

    Raises:
        MissingDependency: pocketsphinx is not installed.
    """

    name, label = "pocketsphinx", "PocketSphinx"

    def __init__(self) -> None:
        _packages()

    def text(self, signal: np.ndarray, sample_rate: int) -> str:
        decoder = _decoder()
        samples = np.round(at_16_khz(signal, sample_rate) * 32767).astype("<i2")
        decoder.reinit_feat()  # forgets the cepstral mean of the signal before
        decoder.start_utt()
        decoder.process_raw(samples.tobytes(), full_utt=True)
        decoder.end_utt()
        found = decoder.hyp()
        return found.hypstr if found is not None else ""


class TransformersRecogniser(Recogniser):
    """A model of the transformers library: Whisper, wav2vec 2 and all others of its speech recognition pipeline.

    The text is that of its pipeline "automatic-speech-recognition" in float32, without sampling. Clips are whole;
    Whisper hears 30 s at once, and longer ones by its own long-form decoding.

    Args:
        model: local folder as `save_pretrained` writes it, with its tokenizer and feature extractor, or a hub id such
            as `openai/whisper-large-v3` or `facebook/hubert-large-ls960-ft`.
        language: for multilingual models such as Whisper, "en"; None lets the model find it.
        device: where it runs; several scoring processes share a GPU's memory.

    Raises:
        UserError: transformers is missing, or no such model can be read.
    """

    def __init__(self, model: str, *, language: str | None = None, device: str = "cpu") -> None:
        imported("TransformersRecogniser", "hf", "transformers")
        self.model, self.language, self.device = model, language, device
        self.name, self.label = named_after(model)

    def text(self, signal: np.ndarray, sample_rate: int) -> str:
        pipeline = _pipeline(self.model, self.device)
        options: dict[str, Any] = {}
        if pipeline.type == "seq2seq_whisper":
            options = {"return_timestamps": True, "generate_kwargs": {"do_sample": False, "num_beams": 1}}
            if self.language is not None:
                options["generate_kwargs"] |= {"language": self.language, "task": "transcribe"}
        rate = pipeline.feature_extractor.sampling_rate
        raw = at_16_khz(signal, sample_rate)
        return str(pipeline({"raw": raw, "sampling_rate": rate}, **options)["text"])


def _packages() -> Any:
    (pocketsphinx,) = imported("PocketSphinx", "asr", "pocketsphinx")
    return pocketsphinx


@lru_cache(maxsize=1)
def _decoder() -> Any:
    return _packages().Decoder(samprate=16_000, loglevel="FATAL")


@lru_cache(maxsize=2)
def _pipeline(model: str, device: str) -> Any:
    from codec.errors import UnreadableFile, first_line

    try:
        import torch
        from transformers import pipeline
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return pipeline("automatic-speech-recognition", model=model, device=device, dtype=torch.float32)
    except Exception as error:  # the hub, the readers and the models raise many kinds
        raise UnreadableFile(
            "No recogniser can be read from",
            model,
            f"({first_line(error)})",
            "give a local folder of save_pretrained with tokenizer and feature extractor, or a hub id within reach",
        ) from error
