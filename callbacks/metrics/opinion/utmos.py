"""UTMOS (Saeki et al. 2022), an opinion on the naturalness of speech, through torch.hub."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from callbacks.metrics.opinion.base import PredictedOpinion
from callbacks.metrics.resampling import at_16_khz

REPOSITORY = "tarepan/SpeechMOS:v1.2.0"


class UTMOS(PredictedOpinion):
    """Mean opinion score by the strong learner of UTMOS (Saeki et al., Interspeech 2022, arXiv 2204.02152).

    The model `utmos22_strong` of the repository SpeechMOS, MIT licence; weights of sarulab-speech/UTMOS22, MIT licence
    too. torch.hub runs the repository's code: give one that you trust. Its weights are read from the hub's cache
    (`TORCH_HOME`), or fetched once.

    Args:
        source: a repository of GitHub with its tag, or a local folder with its hubconf.py.
        device: where it runs; several scoring processes share a GPU's memory.

    Raises:
        UnreadableFile: while scoring, where there is no such repository, or neither weights nor a network.
    """

    name, label = "utmos", "UTMOS"

    def __init__(self, source: str = REPOSITORY, *, device: str = "cpu") -> None:
        self.source, self.device = source, device

    def opinion(self, signal: np.ndarray, sample_rate: int) -> float:
        import torch

        wave = torch.from_numpy(at_16_khz(signal, sample_rate))[None].to(self.device)
        with torch.inference_mode():
            return float(_model(self.source, self.device)(wave, 16_000)[0])


@lru_cache(maxsize=2)
def _model(source: str, device: str) -> Any:
    import torch

    from codec.errors import UnreadableFile, first_line

    folder = Path(source).expanduser()
    kind, place = ("local", str(folder)) if folder.is_dir() else ("github", source)
    try:
        model = torch.hub.load(place, "utmos22_strong", source=kind, trust_repo=True, verbose=False)
    except Exception as error:  # the network, the cache and the repository's code raise many kinds
        raise UnreadableFile(
            "No UTMOS can be loaded from",
            source,
            f"({first_line(error)})",
            f"give the folder of a clone of {REPOSITORY.partition(':')[0]}, with its weights in torch.hub's cache, or "
            "go where the network reaches it",
        ) from error
    return model.eval().to(device)
