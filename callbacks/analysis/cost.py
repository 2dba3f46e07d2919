"""What the parts of codecs cost: parameters, multiply-accumulates per second of audio, and real-time factor."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from itertools import chain
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from callbacks.analysis.macs import count_macs, ready_to_measure
from callbacks.metrics.checks import require, require_at_least
from codec.codec import NeuralCodec
from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.quantizers.base import QuantizerOutput

Key = TypeVar("Key")


class PartCost(NamedTuple):
    """The cost of one part of a codec, or of the whole.

    Attributes:
        codec: its name.
        part: `encoder`, `quantizer`, `decoder`, or `codec`, the sum of the three.
        parameters: number of them.
        macs_per_second: multiply-accumulates per second of audio, by the rules of `count_macs`; NaN where they cannot
            be counted.
        real_time_factor: computing time over duration, median of the repeats; NaN where none was measured.
    """

    codec: str
    part: str
    parameters: int
    macs_per_second: float
    real_time_factor: float


class EncoderCost(NamedTuple):
    """The cost of one encoder: its name, then figures as in `PartCost`."""

    encoder: str
    parameters: int
    macs_per_second: float
    real_time_factor: float


def codec_costs(codecs: Mapping[str, NeuralCodec], *, seconds: float = 4.0, repeats: int = 15) -> list[PartCost]:
    """What encoder, quantizer and decoder of codecs cost on one clip, and their sum, in evaluation mode.

    An `ExternalCodec`'s parts share its model: encoder and decoder each state all of its parameters, the sum counts
    them once, and multiply-accumulates are not counted.

    The figures are those of `NeuralCodec.forward`: the quantizer projects latents, finds the nearest codes and projects
    back. To send, encoder and quantizer are needed; to receive, the decoder and the quantizer's output projection. In
    `decode_stream` the decoder costs (before + chunk + after) / chunk times as much, as it also decodes the context.

    Args:
        codecs: by name.
        seconds: duration of the clip, rounded down to whole frames, at least one. It matters where attention is over
            the whole clip, as that costs in proportion to the clip's length for each second.
        repeats: timings of each part, on the device where it lies, after a warm-up and in turns, so that other load
            affects all parts equally; 0 to time nothing, as for codecs on the `meta` device.

    Returns:
        Four lines for each codec: encoder, quantizer, decoder, codec.

    Raises:
        InvalidValue: `seconds` is not above 0, or `repeats` negative.
    """
    check_measurement(seconds, repeats)
    passes: dict[tuple[str, str], _Pass] = {}
    for name, codec in codecs.items():
        encoding = _encoder_pass(codec.encoder, codec.sample_rate, seconds)
        latents = (1, codec.quantizer.dim, encoding.frames)
        passes[name, "encoder"] = encoding
        passes[name, "quantizer"] = encoding._replace(part=codec.quantizer, shape=latents, before=(codec.encoder,))
        before = (codec.encoder, codec.quantizer)
        passes[name, "decoder"] = encoding._replace(part=codec.decoder, shape=latents, before=before)
    factors = _real_time_factors(passes, repeats)
    rows = []
    for name in codecs:
        parts = ("encoder", "quantizer", "decoder")
        weights = {id(p): p.numel() for part in parts for p in passes[name, part].part.parameters()}
        costs = [PartCost(name, part, *_figures(passes[name, part]), factors[name, part]) for part in parts]
        total = PartCost(
            name,
            "codec",
            sum(weights.values()),
            sum(cost.macs_per_second for cost in costs),
            sum(cost.real_time_factor for cost in costs),
        )
        rows += [*costs, total]
    return rows


def encoder_costs(
    encoders: Mapping[str, Encoder], *, sample_rate: int, seconds: float = 4.0, repeats: int = 15
) -> list[EncoderCost]:
    """What encoders cost on one clip, as `codec_costs` for whole codecs.

    Args:
        encoders: by name.
        sample_rate: in Hz.
        seconds: duration of the clip, rounded down to whole frames, at least one.
        repeats: timings of each, in turns.

    Raises:
        InvalidValue: as `codec_costs`.
    """
    check_measurement(seconds, repeats)
    passes = {name: _encoder_pass(encoder, sample_rate, seconds) for name, encoder in encoders.items()}
    factors = _real_time_factors(passes, repeats)
    return [EncoderCost(name, *_figures(found), factors[name]) for name, found in passes.items()]


class _Pass(NamedTuple):
    """A part's forward pass over a clip.

    Attributes:
        part: what is measured.
        shape: of its input.
        frames: of the clip.
        seconds: the clip's duration.
        audio: shape of the clip, as the encoder takes it.
        before: parts that make the input of the clip.
    """

    part: nn.Module
    shape: tuple[int, ...]
    frames: int
    seconds: float
    audio: tuple[int, ...]
    before: tuple[nn.Module, ...] = ()


def _encoder_pass(encoder: Encoder, sample_rate: int, seconds: float) -> _Pass:
    """Of a clip of whole frames, padded as the encoder needs it."""
    frames = max(1, round(seconds * sample_rate) // encoder.hop_length)
    samples = frames * encoder.hop_length
    padded = encoder.whole_frames(torch.empty(1, 1, samples, device="meta"))
    shape = tuple(padded.shape)
    return _Pass(encoder, shape, frames, samples / sample_rate, audio=shape)


def check_measurement(seconds: float, repeats: int) -> None:
    """Raise `InvalidValue` unless the clip has a duration and the number of timings is not negative."""
    require(seconds > 0, f"seconds {seconds} must be above 0", remedy="take 4")
    require_at_least(0, repeats=repeats)


def _figures(found: _Pass) -> tuple[int, float]:
    """Parameters, and multiply-accumulates per second of audio or NaN."""
    parameters = sum(parameter.numel() for parameter in found.part.parameters())
    try:
        return parameters, count_macs(found.part, found.shape) / found.seconds
    except InvalidValue:
        return parameters, math.nan


@torch.no_grad()
def _real_time_factors(passes: Mapping[Key, _Pass], repeats: int) -> dict[Key, float]:
    """Median computing time over duration of each pass, on noise, timed in turns."""
    if repeats == 0:
        return dict.fromkeys(passes, math.nan)
    generator = torch.Generator().manual_seed(0)
    inputs: dict[Key, Tensor] = {}
    times = {key: np.zeros(repeats) for key in passes}
    with ready_to_measure([found.part for found in passes.values()]):
        for key, found in passes.items():
            device = next(chain(found.part.parameters(), found.part.buffers()), torch.zeros(())).device
            x = (0.1 * torch.randn(found.audio, generator=generator)).to(device)
            for part in found.before:
                x = part(x)
                x = x.latents if isinstance(x, QuantizerOutput) else x
            inputs[key] = x[..., : found.shape[-1]]
            found.part(inputs[key])
        for repeat in range(repeats):
            for key, found in passes.items():
                times[key][repeat] = _seconds(found.part, inputs[key])
    return {key: float(np.median(times[key])) / found.seconds for key, found in passes.items()}


def _seconds(part: nn.Module, x: Tensor) -> float:
    _wait(x.device)
    start = time.perf_counter()
    part(x)
    _wait(x.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
