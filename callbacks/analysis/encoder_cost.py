"""What encoders cost: parameters, multiply-accumulates per second of audio, and real-time factor."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from codec.encoders.base import Encoder


class EncoderCost(NamedTuple):
    """One encoder's cost.

    Attributes:
        encoder: its name.
        parameters: number of them.
        macs_per_second: multiply-accumulates of convolutions, products and attention per second of audio; FFTs,
            norms and activations are not counted.
        real_time_factor: encoding time over duration, median of the repeats.
    """

    encoder: str
    parameters: int
    macs_per_second: float
    real_time_factor: float


@torch.no_grad()
def encoder_costs(
    encoders: Mapping[str, Encoder], *, sample_rate: int, seconds: float = 4.0, repeats: int = 15
) -> list[EncoderCost]:
    """Measure encoders on one clip of noise; timings alternate, so that other load affects all of them equally.

    Args:
        encoders: in eval mode, by name.
        sample_rate: in Hz.
        seconds: duration of the clip, rounded to whole frames.
        repeats: timings of each, after a warm-up.
    """
    device = next(next(iter(encoders.values())).parameters()).device
    noise = torch.randn(round(seconds * sample_rate), generator=torch.Generator().manual_seed(0))
    clips = {n: 0.1 * noise[None, None, : len(noise) // e.hop_length * e.hop_length] for n, e in encoders.items()}
    clips = {name: clip.to(device) for name, clip in clips.items()}
    macs, times = {}, {name: np.zeros(repeats) for name in encoders}
    for name, encoder in encoders.items():
        with FlopCounterMode(display=False) as counter:
            encoder(clips[name])
        macs[name] = counter.get_total_flops() / 2
    for repeat in range(repeats):
        for name, encoder in encoders.items():
            times[name][repeat] = _seconds(encoder, clips[name])
    durations = {name: clip.shape[-1] / sample_rate for name, clip in clips.items()}
    return [
        EncoderCost(
            name,
            sum(parameter.numel() for parameter in encoder.parameters()),
            macs[name] / durations[name],
            float(np.median(times[name])) / durations[name],
        )
        for name, encoder in encoders.items()
    ]


def _seconds(encoder: Encoder, clip: torch.Tensor) -> float:
    _wait(clip.device)
    start = time.perf_counter()
    encoder(clip)
    _wait(clip.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
