"""A tiny training of learned concealment: its module, around a codec in a file."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from codec import ConcealmentModule, FrameErasureChannel, LatentPredictor, MixedChannel, Optimization
from codec.channels.base import Channel
from codec.channels.packets.frame_losses import mark_lost
from codec.checkpoints.writing import save_codec
from tests.support.small_codec import small_codec
from tests.support.training import adam


class EveryThird(Channel):
    """Loses every third frame, without a draw, so that ranks lose what one process does."""

    family = name = "every-third"
    error_rate = lost_share = 1 / 3

    def __call__(self, bits: Tensor, generator: torch.Generator) -> Tensor:
        lost = torch.arange(bits.shape[-2]) % 3 == 2
        return mark_lost(bits, lost[:, None].expand(*bits.shape[:-1], 1))


def concealment_module(folder: Path, *, lookahead: int = 0, accumulate: int = 1, **changes: Any) -> ConcealmentModule:
    file = folder / "codec.safetensors"
    if not file.is_file():
        save_codec(small_codec(), file)
    torch.manual_seed(1)
    optimizer = changes.pop("optimizer", adam)
    losses = [FrameErasureChannel(0.2), FrameErasureChannel(0.3, 3)]
    settings = {"channel": MixedChannel(losses), "seed": 3} | changes
    return ConcealmentModule(
        str(file),
        LatentPredictor(16, width=8, layers=1, lookahead=lookahead),
        optimization=Optimization(optimizer=optimizer, accumulate=accumulate),
        **settings,
    )
