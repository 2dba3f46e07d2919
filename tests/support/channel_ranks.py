"""Run by `torchrun`: the same clips on several ranks, unevenly and with ranks that have none, into a folder each.

Usage: torchrun --nproc-per-node RANKS channel_ranks.py FOLDER
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from torch.utils.data import DataLoader

from callbacks.channel.evaluation import ChannelEvaluation
from callbacks.metrics import SISDR, STOI
from callbacks.training.codebook_usage import CodebookUsage
from codec import (
    AWGNChannel,
    FrameErasureChannel,
    GilbertElliottChannel,
    Hamming74,
    Link,
    PacketLossChannel,
    PosteriorMean,
    ProtectedChannel,
    RepeatLast,
)
from tests.support.codec_fakes import CountingModule, clip, loader, tiny_codec, trainer
from tests.support.faulty_metrics import Fragile
from tests.support.leaving import leave_together
from tests.support.speech import speech_like

NAMES = [f"voice/clip_{number}" for number in range(7)]


def evaluation(fit_clips: int | None = None) -> ChannelEvaluation:
    return ChannelEvaluation(
        [
            GilbertElliottChannel(0.05, 10),
            FrameErasureChannel(0.2),
            PacketLossChannel(0.2, 3, burst_length=2),
            AWGNChannel(2.0),
            AWGNChannel(2.0, soft=True),
            ProtectedChannel(AWGNChannel(0.0, soft=True), Hamming74(), protected_bits=[0, 1, 4], interleave=4),
        ],
        Link(concealment=PosteriorMean(RepeatLast())),
        bit_error_rates=(0.0, 0.1),
        metrics=[STOI(), SISDR()],
        repeats=2,
        fit_clips=fit_clips,
        num_workers=0,
        audio_clips=1,
    )


def make_module() -> LightningModule:
    torch.manual_seed(0)
    return CountingModule(tiny_codec())


def batches(numbers: range) -> DataLoader:  # type: ignore[type-arg]
    return loader([clip(NAMES[number], speech_like(number, 0.8 + 0.1 * number)) for number in numbers])


def shares(rank: int, ranks: int) -> dict[str, range]:
    return {"uneven": range(rank, len(NAMES), ranks), "empty": range(len(NAMES) if rank == 0 else 0)}


def run(folder: Path, rank: int, ranks: int, strategy: str) -> None:
    """Test on every share of the clips, also with scoring that dies, then validate in a fit, and write the scores."""
    for name, numbers in shares(rank, ranks).items():
        runner: Trainer = trainer(folder / name, [evaluation()], devices=ranks, strategy=strategy)
        runner.test(make_module(), batches(numbers), verbose=False)
    fragile = ChannelEvaluation(bit_error_rates=(0.0,), metrics=[Fragile(), SISDR()], num_workers=1, audio_clips=0)
    runner = trainer(folder / "fragile", [fragile], devices=ranks, strategy=strategy)
    runner.test(make_module(), batches(shares(rank, ranks)["uneven"]), verbose=False)
    fit = evaluation(fit_clips=3)
    options = {"devices": ranks, "strategy": strategy, "max_epochs": 1, "limit_train_batches": 1}
    runner = trainer(
        folder / "fit", [fit, CodebookUsage(1)], num_sanity_val_steps=0, enable_checkpointing=False, **options
    )
    unwrapped = make_module()
    # Without learning, so that any number of ranks validates the same weights.
    for parameter in unwrapped.parameters():
        parameter.register_hook(torch.zeros_like)
    runner.fit(unwrapped, batches(range(1)), batches(shares(rank, ranks)["uneven"]))
    scores = {name: float(value) for name, value in runner.callback_metrics.items() if "codebook/train" not in name}
    torch.save(scores, folder / f"rank_{rank}_of_{ranks}.pt")


if __name__ == "__main__":
    place = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    run(Path(sys.argv[1]), *place, "ddp_alternating")
    leave_together()
