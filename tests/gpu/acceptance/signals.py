"""Speech-like batches out of memory: batch n of training is a function of n, whatever was drawn before."""

from collections.abc import Iterator
from functools import lru_cache

import lightning as L
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from tests.support.speech import speech_like

CLIP_SECONDS = 8.0


@lru_cache(4)
def pool(rate: int, clips: int) -> Tensor:
    """`[clips, samples]` of speech-like signals of 8 s."""
    return torch.from_numpy(np.stack([speech_like(n, CLIP_SECONDS, rate=rate) for n in range(clips)]))


def crops(batch: int, *, size: int, seconds: float, rates: tuple[int, ...], clips: int) -> list[Tensor]:
    """The same crops `[size, 1, T]` of the pool at each rate."""
    generator = torch.Generator().manual_seed(batch)
    rows = torch.randint(clips, (size,), generator=generator)
    starts = torch.randint(int(50 * (CLIP_SECONDS - seconds)) + 1, (size,), generator=generator) / 50
    gains = 0.3 + 0.7 * torch.rand(size, 1, generator=generator)
    found = []
    for rate in rates:
        offsets = (starts * rate).round().long()[:, None] + torch.arange(round(seconds * rate))
        found.append((pool(rate, clips)[rows[:, None], offsets] * gains)[:, None])
    return found


class Crops(IterableDataset):
    """Endless batches, from the trainer's batch on."""

    def __init__(self, owner: "SignalData") -> None:
        self.owner = owner

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        owner = self.owner
        batch = owner.trainer.global_step if owner.trainer else 0
        while True:
            audio, *target = crops(batch, size=owner.size, seconds=owner.seconds, rates=owner.rates, clips=owner.clips)
            yield {"audio": audio} | ({"target": target[0]} if target else {})
            batch += 1


class SignalData(L.LightningDataModule):
    """Training batches of `size` crops of `seconds`, at one rate or, with a target, at two; no validation clips."""

    def __init__(
        self, size: int, seconds: float, *, rates: tuple[int, ...], clips: int = 16, pin: bool = False
    ) -> None:
        super().__init__()
        self.size, self.seconds, self.rates, self.clips, self.pin = size, seconds, rates, clips, pin

    def train_dataloader(self) -> DataLoader:
        return DataLoader(Crops(self), batch_size=None, pin_memory=self.pin)

    def val_dataloader(self) -> list[DataLoader]:
        return []
