"""Stand-ins for tests of callbacks: a tiny codec, a LightningModule with manual optimisation, and clips."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from codec.codec import NeuralCodec
from codec.decoders.backbones import ConvNeXtBackbone
from codec.decoders.vocos import VocosDecoder
from codec.encoders.spectral import SpectralEncoder
from codec.quantizers import FSQ
from codec.training.alternating import store_averages

RATE = 16_000


def tiny_codec(levels: tuple[int, ...] = (4, 4, 4, 4)) -> NeuralCodec:
    """About 10 000 parameters at 50 frames per second."""
    encoder = SpectralEncoder(dim=8, hop_length=320, width=8, depth=1)
    decoder = VocosDecoder(ConvNeXtBackbone(dim=8, width=8, depth=1), hop_length=320)
    return NeuralCodec(encoder, FSQ(8, levels), decoder, sample_rate=RATE)


def clip(name: str, audio: np.ndarray) -> dict[str, Any]:
    """An evaluation batch of one clip."""
    return {"audio": torch.from_numpy(audio)[None, None], "id": [name]}


class Stream(IterableDataset[dict[str, Any]]):
    """Batches without a length, so that Lightning lets a rank have none."""

    def __init__(self, batches: list[dict[str, Any]]) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.batches)


def loader(batches: list[dict[str, Any]]) -> DataLoader[dict[str, Any]]:
    return DataLoader(Stream(batches), batch_size=None)


class CountingModule(LightningModule):
    """Trains a codec on the waveform, with manual optimisation and an idle discriminator; counts what it does."""

    def __init__(self, codec: NeuralCodec) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.codec = codec
        self.discriminator = nn.Linear(4, 4)
        self.encoded = 0
        self.decoded = 0
        codec.quantizer.register_forward_hook(self._count_encoder)
        codec.decoder.register_forward_hook(self._count_decoder)

    def _count_encoder(self, *_: Any) -> None:
        self.encoded += 1

    def _count_decoder(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        self.decoded += len(output)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam([*self.codec.parameters(), *self.discriminator.parameters()], lr=1e-2)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        optimizer = self.optimizers()
        output = self.codec(batch["audio"])
        optimizer.zero_grad()
        self.manual_backward((output.audio - batch["audio"]).square().mean() + self.discriminator.weight.sum())
        optimizer.step()
        return {"codes": output.codes, "audio": output.audio.detach()}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        store_averages(self, checkpoint)

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        return {"codes": self.codec.encode(batch["audio"])}

    def test_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Tensor]:
        return self.validation_step(batch, batch_idx)

    def predict_step(self, batch: dict[str, Any], batch_idx: int) -> dict[str, Any]:
        output = self.codec(batch["audio"])
        return {
            "audio": output.audio,
            "codes": output.codes,
            "id": batch["id"],
            "length": batch["audio"].shape[-1],
        }


def trainer(root: Any, callbacks: list[Any], **options: Any) -> Trainer:
    """A quiet CPU trainer; `options` go to Lightning's constructor."""
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    defaults = {**quiet, "accelerator": "cpu", "devices": 1, "use_distributed_sampler": False}
    return Trainer(default_root_dir=root, callbacks=callbacks, **{**defaults, **options})
