"""Several codecs and links side by side: the module of `train.py test --config configs/evaluate/compare.yaml`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from codec.channels.link import Connection, Link
from codec.checkpoints.reading import load_codec
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.training.clip_pieces import (
    PiecewisePrediction,
    batch_fields,
    frames_of,
    lengths_at,
    predict_whole,
    resample,
)
from codec.training.distributed.supported import check_trainer
from codec.training.float32_precision import Float32Precision
from codec.training.lightning_internals import attached_trainer


@dataclass
class System:
    """One entry of a comparison: a codec and the link that carries its codes.

    Attributes:
        name: in tables and figures, unique.
        checkpoint: a run's file to take the codec from; systems that name one file share its codec.
        codec: the codec itself in place of a checkpoint, for example a `codec.TransformersCodec`.
        link: index map, error correction and concealment; `Link()` by default.
    """

    name: str
    checkpoint: str | None = None
    codec: NeuralCodec | None = None
    link: Link | None = None


class EvaluatedSystem:
    """A system ready to run.

    Attributes:
        name: of the system.
        codec: its codec; systems whose checkpoint is the same share one.
        connection: its link, fitted to the codec.
    """

    def __init__(self, name: str, codec: NeuralCodec, link: Link | None = None) -> None:
        self.name, self.codec = name, codec
        self.connection: Connection = (link or Link()).connect(codec.quantizer)


class ComparisonModule(L.LightningModule):
    """Encodes each clip with every codec once; `callbacks.ChannelEvaluation` scores what is received.

    In `predict` each codec encodes and decodes, without a channel and at its own rates.

    Args:
        systems: to compare; the first of each bit rate is the baseline of the others of that rate.
        sample_rate: in Hz, of the clips and of scoring; codecs at other rates are resampled on the way in and out.

    Attributes:
        evaluated_systems: the systems, ready to run.
        sharing: the systems grouped by codec; `predict` runs each codec once, under the name of its first system.

    Raises:
        InvalidValue: no system, names that collide, or a system with neither or both of checkpoint and codec.
    """

    def __init__(self, systems: list[System], *, sample_rate: int = 16_000) -> None:
        super().__init__()
        names = [system.name for system in systems]
        if not names or len(set(names)) < len(names) or "" in names:
            raise InvalidValue("systems", names, "must be at least one, with unique names that are not empty")
        loaded: dict[str, NeuralCodec] = {}
        self.evaluated_systems: list[EvaluatedSystem] = []
        for system in systems:
            if (system.checkpoint is None) == (system.codec is None):
                raise InvalidValue("system", repr(system.name), "must have either a checkpoint or a codec")
            codec = system.codec
            if system.checkpoint is not None:
                file = os.path.realpath(system.checkpoint)
                if file not in loaded:
                    loaded[file] = load_codec(system.checkpoint)
                codec = loaded[file]
            assert codec is not None
            self.evaluated_systems.append(EvaluatedSystem(system.name, codec.eval(), system.link))
        by_codec: dict[int, list[EvaluatedSystem]] = {}
        for evaluated in self.evaluated_systems:
            by_codec.setdefault(id(evaluated.codec), []).append(evaluated)
        self.sharing = list(by_codec.values())
        self.codecs = nn.ModuleList(first.codec for first, *_ in self.sharing)
        self.sample_rate = self.output_sample_rate = sample_rate
        self.hop_length = 1
        self._pieces = PiecewisePrediction()

    def setup(self, stage: str) -> None:
        """Refuse a trainer that does not work with this module."""
        check_trainer(attached_trainer(self))

    def configure_callbacks(self) -> list[L.Callback]:
        """Scores in full float32."""
        return [Float32Precision()]

    def test_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """`codes` by name of system; of a padded batch also `frames`, each clip's in these codes, by name."""
        found: dict[str, Any] = {"codes": {}}
        lengths = batch.get("lengths")
        for systems in self.sharing:
            codec = systems[0].codec
            codes = {"codes": encode_at(codec, batch["audio"], self.sample_rate, lengths)}
            for name, value in (codes | frames_of(codec, lengths, self.sample_rate)).items():
                found.setdefault(name, {}).update({system.name: value for system in systems})
        return found

    def validation_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        return self.test_step(batch, batch_idx)

    def predict_step(self, batch: Mapping[str, Any], batch_idx: int) -> dict[str, Any]:
        """The `id`, and under `systems` by name what each codec alone would predict; `length`, or `lengths` of several
        clips, at its input rate.

        A long clip's pieces (see `SpeechDataModule`) give the next samples and codes of each.
        """
        if "piece" in batch:
            codecs = {first.name: first.codec for first, *_ in self.sharing}
            return batch_fields(batch) | {"systems": self._pieces.predict(batch, codecs, self.sample_rate)}
        systems = {first.name: predict_whole(first.codec, batch, self.sample_rate) for first, *_ in self.sharing}
        return batch_fields(batch) | {"systems": systems}

    def training_step(self, *_: Any) -> None:
        raise InvalidValue(
            "A ComparisonModule has nothing to train", remedy="use `train.py test`, `validate` or `predict`"
        )

    def configure_optimizers(self) -> None:
        """None: the codecs are trained already."""


def encode_at(codec: NeuralCodec, audio: Tensor, sample_rate: int, lengths: Sequence[int] | None = None) -> Tensor:
    """Codes int64 `[B, K, F]` of audio `[B, 1, T]` at any rate in Hz; of a padded batch, `lengths` in its samples."""
    heard = None if lengths is None else lengths_at(codec.sample_rate, lengths, sample_rate)
    with torch.no_grad():
        return codec.encode(resample(audio, sample_rate, codec.sample_rate), heard)


def decode_at(codec: NeuralCodec, latents: Tensor, sample_rate: int, *, length: int) -> Tensor:
    """Audio float32 `[B, 1, length]` at any rate in Hz, from quantized latents `[B, D, F]`."""
    if codec.output_sample_rate == sample_rate:
        return codec.decode_latents(latents, length=length)
    audio = resample(codec.decode_latents(latents), codec.output_sample_rate, sample_rate)
    return nn.functional.pad(audio, (0, max(0, length - audio.shape[-1])))[..., :length]


def evaluated_systems(module: L.LightningModule, link: Link | None) -> tuple[list[EvaluatedSystem], int]:
    """A module's systems and the rate in Hz at which to score them; a single codec's system has an empty name."""
    if isinstance(module, ComparisonModule):
        if link is not None:
            raise InvalidValue(
                "channels.link has no effect in a comparison", remedy="give each of its systems a link of its own"
            )
        return module.evaluated_systems, module.output_sample_rate
    codec = module.codec
    assert isinstance(codec, NeuralCodec)
    scored_link: Any = getattr(module, "scored_link", None)  # of a module that trains a part of the link
    link = link if scored_link is None else scored_link(link)
    return [EvaluatedSystem("", codec, link)], codec.output_sample_rate
