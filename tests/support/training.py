"""A tiny adversarial training run: module, endless data that starts at the trainer's batch, and a quiet trainer."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from codec import (
    AdversarialLoss,
    Adversary,
    CodecModule,
    MultiPeriodDiscriminator,
    MultiResolutionSpectrogramDiscriminator,
    MultiScaleMelLoss,
    Optimization,
)
from tests.support.small_codec import small_codec

RATE = 16_000


def voice(batch: int, *, size: int = 4, samples: int = 1920) -> Tensor:
    """Speech-like `[size, 1, samples]`: gliding harmonics under a moving envelope, a function of the batch number."""
    generator = torch.Generator().manual_seed(batch)
    pitch = 90 + 150 * torch.rand(size, 1, generator=generator)
    glide = 40 * torch.rand(size, 1, generator=generator)
    time = torch.arange(samples) / RATE
    phase = 2 * math.pi * (pitch * time + glide * time.square())
    tilt = 0.5 + torch.rand(size, 1, 1, generator=generator)
    harmonics = torch.arange(1, 20).view(1, -1, 1)
    wave = (torch.sin(harmonics * phase[:, None]) / harmonics**tilt).sum(1)
    envelope = 0.55 + 0.45 * torch.sin(2 * math.pi * (3 + 4 * torch.rand(size, 1, generator=generator)) * time)
    noise = 0.02 * torch.randn(size, samples, generator=generator)
    return (0.1 * wave * envelope + 0.1 * noise).unsqueeze(1)


class Batches(IterableDataset):
    def __init__(self, owner: "VoiceData") -> None:
        self.owner = owner

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        trainer = self.owner.trainer
        step, rank, ranks = (trainer.global_step, trainer.global_rank, trainer.world_size) if trainer else (0, 0, 1)
        while True:
            audio = voice(step, size=self.owner.size * ranks)
            if step in self.owner.broken and rank == 0:
                audio = audio * float("nan")
            yield {"audio": audio[rank * self.owner.size :][: self.owner.size]}
            step += 1


class VoiceData(L.LightningDataModule):
    """Batch n of training is a function of n; those in `broken` are not finite on rank 0; or just the `listed` ones."""

    def __init__(self, size: int = 2, *, broken: tuple[int, ...] = (), listed: list[Tensor] | None = None) -> None:
        super().__init__()
        self.size, self.broken, self.listed = size, broken, listed

    def train_dataloader(self) -> DataLoader:
        if self.listed is not None:
            return DataLoader([{"audio": audio} for audio in self.listed], batch_size=None)
        return DataLoader(Batches(self), batch_size=None)

    def val_dataloader(self) -> list[dict[str, Any]]:
        return [{"audio": voice(10**6 + i, size=1, samples=3000 + 77 * i), "id": [f"clip{i}"]} for i in range(2)]


def mel_loss() -> MultiScaleMelLoss:
    return MultiScaleMelLoss(RATE, (128, 512), mels=(10, 40))


def discriminators() -> list:
    return [MultiPeriodDiscriminator((2, 3), (4, 8)), MultiResolutionSpectrogramDiscriminator((128,), 4)]


def sgd(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.01)


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=2e-3, betas=(0.8, 0.9))


class Hinge(AdversarialLoss):
    """Hinge loss (arXiv 1705.02894), an adversarial loss of a user's own: margins of one."""

    def real(self, score: Tensor) -> Tensor:
        return torch.relu(1 - score).mean()

    def fake(self, score: Tensor) -> Tensor:
        return torch.relu(1 + score).mean()

    def fooled(self, score: Tensor) -> Tensor:
        return -score.mean()


ADVERSARY = {
    "discriminators": "discriminators",
    "adversarial_loss": "loss",
    "discriminator_optimizer": "optimizer",
    "discriminator_schedule": "schedule",
    "discriminator_start": "start",
    "discriminator_crop": "crop",
}
OPTIMIZATION = ("optimizer", "schedule", "gradient_clip", "accumulate")


def module_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings by short names, sorted into the parts that a module takes."""
    rest = dict(settings)
    adversary = {name: rest.pop(key) for key, name in ADVERSARY.items() if key in rest}
    optimization = {name: rest.pop(name) for name in OPTIMIZATION if name in rest}
    return {"adversary": Adversary(**adversary), "optimization": Optimization(**optimization), **rest}


def tiny_module(**changes: Any) -> CodecModule:
    torch.manual_seed(1)
    settings: dict[str, Any] = {
        "reconstruction_loss": mel_loss(),
        "optimizer": adam,
        "discriminator_optimizer": adam,
        "seed": 3,
    } | changes
    codec = small_codec()
    if settings.get("discriminators") is None:
        settings["discriminators"] = discriminators()
    return CodecModule(codec, **module_settings(settings))


QUIET: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "max_epochs": -1,
    "logger": False,
    "limit_val_batches": 0,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "use_distributed_sampler": False,
}


def quiet_trainer(**changes: Any) -> L.Trainer:
    return L.Trainer(**(QUIET | changes))


def weights(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def whole_and_resumed(fit: Callable[..., L.Trainer], folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Checkpoints of a run of four batches and of one that was interrupted after two.

    Args:
        fit: trains for a number of batches, from the checkpoint of its second argument where there is one.
        folder: for the files.
    """
    fit(2).save_checkpoint(folder / "part.ckpt")
    fit(4).save_checkpoint(folder / "whole.ckpt")
    fit(4, folder / "part.ckpt").save_checkpoint(folder / "resumed.ckpt")
    whole, resumed = (torch.load(folder / f"{name}.ckpt", weights_only=True) for name in ("whole", "resumed"))
    return whole, resumed
