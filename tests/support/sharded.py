"""Trains on two ranks, with whole weights and with sharded ones, and resumes: sharded.py FOLDER."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch.utils.data import DataLoader, IterableDataset

from callbacks import CodecEMA
from codec.training.distributed.ddp import AlternatingDDPStrategy
from codec.training.distributed.fsdp import AlternatingFSDPStrategy
from tests.support.leaving import leave_together
from tests.support.training import VoiceData, quiet_trainer, tiny_module, voice

STEPS, HALF = 6, 4


class Clips(IterableDataset):
    """Two clips for rank 0, none for the others."""

    def __init__(self, trainer: L.Trainer) -> None:
        self.trainer = trainer

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(
            [{"audio": voice(10**6 + i, size=1), "id": [f"{i}"]} for i in range(0 if self.trainer.global_rank else 2)]
        )


class UnevenVoiceData(VoiceData):
    def val_dataloader(self) -> DataLoader:
        return DataLoader(Clips(self.trainer), batch_size=None)


class Losses(L.Callback):
    """Notes what each batch and validation logs, the types of weights in use, and how many this rank keeps."""

    def __init__(self) -> None:
        self.values: list[dict[str, float]] = []
        self.computed: dict[str, set[torch.dtype]] = {}

    def on_fit_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        def note(part: torch.nn.Module, _: Any) -> None:
            kind = "training" if trainer.training else "evaluation"
            self.computed.setdefault(kind, set()).update(p.dtype for p in part.parameters())

        for part in (module.codec.encoder, module.codec.decoder):
            list(part.modules())[-1].register_forward_pre_hook(note)

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        metrics = trainer.callback_metrics.items()
        self.values.append({name: float(value) for name, value in metrics if not name.startswith("val/")})

    def on_validation_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        self.values[-1]["val/mel"] = float(trainer.callback_metrics["val/mel"])

    def on_fit_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        kept = [getattr(p, "_local_tensor", p) for p in module.codec.parameters()]
        self.kept = sum(p.numel() for p in kept)


def train(
    folder: Path, name: str, strategy: Any, *, steps: int = STEPS, resume: str | None = None, precision: Any = "32-true"
) -> None:
    """Train, validate at each second batch, and save the whole state."""
    losses = Losses()
    options = {"limit_val_batches": 1.0, "val_check_interval": 2, "check_val_every_n_epoch": None}
    trainer = quiet_trainer(
        max_steps=steps,
        devices=2,
        strategy=strategy,
        callbacks=[losses, CodecEMA(0.9)],
        num_sanity_val_steps=0,
        precision=precision,
        **options,
    )
    module = tiny_module(gradient_clip=0.5, accumulate=2)
    trainer.fit(module, UnevenVoiceData(2), ckpt_path=resume and folder / f"{resume}.ckpt", weights_only=True)
    trainer.save_checkpoint(folder / f"{name}.ckpt")
    computed = {kind: sorted(map(str, types)) for kind, types in losses.computed.items()}
    kept = {"losses": losses.values, "kept": losses.kept, "computed": computed}
    torch.save(kept, folder / f"{name}{trainer.global_rank}.pt")


def sharded() -> AlternatingFSDPStrategy:
    return AlternatingFSDPStrategy(unit=2_000, process_group_backend="gloo")


def main() -> None:
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    train(folder, "whole", AlternatingDDPStrategy(process_group_backend="gloo"))
    train(folder, "sharded", sharded())
    train(folder, "half", sharded(), steps=HALF)
    train(folder, "resumed", sharded(), resume="half")
    train(folder, "whole_bf16", AlternatingDDPStrategy(process_group_backend="gloo"), precision="bf16-mixed")
    train(folder, "sharded_bf16", sharded(), precision="bf16-mixed")


if __name__ == "__main__":
    main()
    leave_together()
