"""Features of a clip by a frozen model, which is any class or function that can be imported, given by name."""

import hashlib
import importlib
import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonargparse
import numpy as np
import torch
from torch import nn

from data.audio.reading import read_whole
from data.errors import AudioReadError, DataError
from data.prepare.recipes.filters import Filters
from data.shards.features import FEATURE_EXTENSION
from data.shards.writer import Entry, Filtered
from data.sources.base import Clip, refuse_shortened

READ_BYTES = 1 << 22
Compute = Callable[[torch.Tensor], Any]


class FeatureJob:
    """Audio to features, one clip at a time, so that no clip's features depend on another's.

    Args:
        model: import path of a class, or of a function that returns the model, such as "codec.W2VBert".
        init: its arguments, as in a YAML configuration.
        call: the method that computes the features; None calls the model itself. It gets float32 `[1, 1, T]` in
            [−1, 1] and returns a tensor or an array `[1, ..., F]`.
        sample_rate: of the audio in Hz.
        dtype: of the stored arrays; None for the model's.
        device: "cpu", where each clip is computed in one thread, or "cuda".
        filters: clips that are left out.

    Raises:
        DataError: the model cannot be imported or built; `entries`: it fails on a clip.
    """

    extension = None

    def __init__(
        self,
        model: str,
        init: dict[str, Any] | None = None,
        *,
        call: str | None = None,
        sample_rate: int = 16_000,
        dtype: str | None = None,
        device: str = "cpu",
        filters: Filters | None = None,
    ) -> None:
        self.model, self.init, self.call = model, init or {}, call
        self.sample_rate, self.dtype, self.device = sample_rate, dtype, device
        self.filters = filters or Filters()
        self._lock = threading.Lock()
        self._compute: Compute | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_compute": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def description(self) -> dict[str, Any]:
        """What the features depend on, for corpus.json; of files among the arguments, their contents."""
        files = {key: _digest(value) for key, value in self.init.items() if isinstance(value, str)}
        known = {key: getattr(self, key) for key in ("model", "init", "call", "sample_rate", "dtype", "device")}
        known["files"] = {key: digest for key, digest in files.items() if digest}
        known["filters"] = self.filters._asdict()
        return {"features": known}

    def entries(self, name: str, clip: Clip) -> Iterator[Entry | Filtered]:
        """The NumPy file of a clip. Raises AudioReadError if it cannot be read, or the model refuses it."""
        refused = self.filters.refuse_clip(name, clip)
        if refused:
            yield refused
            return
        audio = read_whole(clip.path, (self.sample_rate,), segment=clip.segment)[0]  # [1, T]
        seconds = audio.shape[-1] / self.sample_rate
        refuse_shortened(clip, seconds)
        values = self._features(clip.name, audio[None])
        buffer = io.BytesIO()
        np.save(buffer, values, allow_pickle=False)
        yield Entry(name + FEATURE_EXTENSION, buffer.getvalue(), seconds, self.sample_rate)

    def _features(self, path: str, audio: torch.Tensor) -> np.ndarray:
        """Features `[..., F]` of audio `[1, 1, T]`."""
        compute = self.load()
        try:
            with torch.inference_mode():
                values = compute(audio.to(self.device))
        except ValueError as error:  # such as a clip that is too short
            raise AudioReadError(path, f"refused by {self.model}: {first_line(error)}") from error
        except RuntimeError as error:
            problem = f"fails on {path} ({first_line(error)})"
            raise DataError("the model", self.model, problem, "correct that and run the same command again") from error
        array = values.cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)
        if array.ndim < 2 or array.shape[0] != 1:
            raise DataError(
                "the model", self.model, f"returns shape {list(array.shape)}, not [1, ..., F]", "see --call"
            )
        if not np.isfinite(array).all():
            raise AudioReadError(path, f"{self.model} gives NaN or infinite features")
        return array[0] if self.dtype is None else _converted(array[0], self.dtype)

    def load(self) -> Compute:
        """What computes the features; built at the first call in a process, with the same random weights in each."""
        with self._lock:
            if self._compute is None:
                self._compute = self._build()
            return self._compute

    def _build(self) -> Compute:
        if self.device == "cpu":
            torch.set_num_threads(1)  # sums depend on the number of threads
        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = build_model(self.model, self.init)
        if isinstance(model, nn.Module):
            model.to(self.device).eval().requires_grad_(False)
        rate = getattr(model, "sample_rate", self.sample_rate)
        if rate != self.sample_rate:
            raise DataError("--sample-rate", self.sample_rate, f"is not that of {self.model}", f"give {rate}")
        compute = model if self.call is None else getattr(model, self.call, None)
        if not callable(compute):
            problem = "cannot be called" if self.call is None else f"has no method {self.call!r}"
            raise DataError("--model", self.model, problem, "name a method with --call")
        return compute


def build_model(path: str, init: dict[str, Any]) -> Any:
    """The object that a class or function makes from arguments, which are checked and may hold further classes.

    Raises:
        DataError: it cannot be imported, or does not take these arguments.
    """
    module, _, name = path.replace(":", ".").rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        remedy = "give the import path of a class or function, such as codec.W2VBert"
        raise DataError("--model", path, f"cannot be imported ({first_line(error)})", remedy) from error
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    try:
        if isinstance(target, type):
            parser.add_class_arguments(target, "model")
            return parser.instantiate_classes(parser.parse_object({"model": init})).model
        parser.add_function_arguments(target, "model")
        return target(**parser.instantiate_classes(parser.parse_object({"model": init})).model)
    except (jsonargparse.ArgumentError, ValueError, TypeError, OSError) as error:
        problem = f"cannot be built ({' '.join(str(error).split())[:300]})"
        raise DataError("--model", path, problem, "correct --init") from error


def _digest(path: str) -> str | None:
    """SHA-256 of a file; None for any other text."""
    if not Path(path).is_file():
        return None
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(READ_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _converted(array: np.ndarray, dtype: str) -> np.ndarray:
    converted = array.astype(dtype)
    if not np.isfinite(converted).all() or (converted.dtype.kind == "i" and not np.array_equal(converted, array)):
        raise DataError("--dtype", dtype, "does not hold the model's values", "give a wider one, or leave it out")
    return converted


def first_line(error: Exception) -> str:
    """What an error says first; its class where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
