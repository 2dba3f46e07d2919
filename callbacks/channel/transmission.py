"""One clip's codes sent through every channel draw and decoded; equal receptions are decoded once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from callbacks.metrics.checks import require, require_unique
from codec.channels import BinarySymmetricChannel, Channel, decide, draw_generator
from codec.channels.link import Connection
from codec.errors import InvalidValue
from codec.training.comparison_module import EvaluatedSystem, decode_at


class Transmission(NamedTuple):
    """What arrived of one clip; C channels, R repeats, S distinct receptions.

    Attributes:
        received: Distinct receptions, each bits or probabilities [F, n] on the CPU; number 0 is the first channel's
            first draw.
        signals: Reception that each draw produced [C, R], int64; a draw without an error shares its reception.
        bit_errors: Share of bits that arrived wrong or not at all [C, R].
        erased_codewords: Number of codewords received that stand for no code or lost a bit [C, R], int64.
        bits: Number of bits that cross each channel, parity included [C], int64.
    """

    received: list[Tensor]
    signals: np.ndarray
    bit_errors: np.ndarray
    erased_codewords: np.ndarray
    bits: np.ndarray


def transmit(
    connection: Connection, codes: Tensor, channels: Sequence[Channel], *, clip_id: str, seed: int, repeats: int
) -> Transmission:
    """Send one clip's codes through each channel, `repeats` times.

    Args:
        connection: Turns codes into bits and back.
        codes: Codes [1, K, F] of one clip, on the CPU.
        channels: Channels to draw from, error correction included.
        clip_id: Stable name of the clip; with the seed, the channel's family and the repeat it decides the draw.
        seed: Seed of all draws.
        repeats: Draws per channel.
    """
    sent = connection.send(codes)[0]  # [F, n]
    numbers: dict[bytes, int] = {}
    signals = np.zeros((len(channels), repeats), dtype=np.int64)
    bit_errors = np.zeros((len(channels), repeats))
    received: list[Tensor] = []
    for c, channel in enumerate(channels):
        for r in range(repeats):
            arrived = _checked(channel, sent, channel(sent.clone(), draw_generator(seed, clip_id, channel.family, r)))
            decided, lost = decide(arrived)
            bit_errors[c, r] = (lost | (decided != sent)).double().mean()
            if arrived.is_floating_point() and torch.equal(decided.float(), arrived):
                arrived = decided  # all probabilities are 0 or 1
            key = bytes(str(arrived.dtype), "ascii") + arrived.numpy().tobytes()
            if key not in numbers:
                numbers[key] = len(received)
                received.append(arrived)
            signals[c, r] = numbers[key]
    erased = [int(connection.receive(bits[None]).erased.sum()) for bits in received]
    crossing = np.array([channel.sent_bits(sent) for channel in channels], dtype=np.int64)
    return Transmission(received, signals, bit_errors, np.array(erased)[signals], crossing)


def channels_to_score(bit_error_rates: Sequence[float], channels: Sequence[Channel] | None) -> list[Channel]:
    """A binary symmetric channel for each bit error rate, then the other channels.

    Raises:
        InvalidValue: A channel lacks an attribute, or two have one name.
    """
    every = [*(BinarySymmetricChannel(rate) for rate in bit_error_rates), *(channels or [])]
    for channel in every:
        lacking = [name for name in ("name", "family", "error_rate") if not hasattr(channel, name)]
        require(not lacking, "channel", type(channel).__name__, f"lacks {', '.join(lacking)}", "set them in __init__")
    if every:
        require_unique("channels", [channel.name for channel in every])
    return every


def _checked(channel: Channel, sent: Tensor, arrived: object) -> Tensor:
    """What a channel returned, on the CPU; InvalidValue if it breaks the contract of `codec.channels.Channel`."""
    if not isinstance(arrived, Tensor) or arrived.shape != sent.shape:
        found = list(arrived.shape) if isinstance(arrived, Tensor) else type(arrived).__name__
        raise InvalidValue("channel", channel.name, f"returned {found} for bits {list(sent.shape)}", "keep the shape")
    inside = arrived.dtype in (torch.uint8, torch.float32) and bool(((arrived >= 0) & (arrived <= 1)).all())
    if not inside:
        raise InvalidValue(
            "channel",
            channel.name,
            f"returned {arrived.dtype} from {arrived.min()} to {arrived.max()}",
            "return uint8 bits 0 and 1, or float32 probabilities of a one",
        )
    return arrived.cpu()


@torch.no_grad()
def decode_receptions(
    system: EvaluatedSystem, transmission: Transmission, *, sample_rate: int, length: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Decode each distinct reception, `batch_size` at a time, and yield float32 signals [length] in order."""
    device = system.codec.device
    for start in range(0, len(transmission.received), batch_size):
        part = transmission.received[start : start + batch_size]
        if any(bits.is_floating_point() for bits in part):
            part = [bits.float() for bits in part]
        reception = system.connection.receive(torch.stack(part).to(device))
        latents = system.codec.condition(system.connection.latents(reception), reception.bits)
        audio = decode_at(system.codec, latents, sample_rate, length=length)
        yield from audio[:, 0].float().cpu().numpy()  # [S, length]
