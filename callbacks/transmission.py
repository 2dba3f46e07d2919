"""One clip's codes through every channel draw, decoded: what equals an earlier reception is not decoded again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from codec.bitstream import bits_to_codes, codes_to_bits
from codec.channels import Channel, draw_generator
from codec.codec import NeuralCodec


class Transmission(NamedTuple):
    """What arrived of one clip; C channels, R repeats, S distinct receptions.

    Attributes:
        codes: Received codes [S, K, F], int64 on the CPU; reception 0 is the first channel's first draw.
        erased: Whether a word arrived that names no code [S, K, F].
        signals: Reception that each draw produced [C, R], int64; a draw without an error shares its reception.
        bit_errors: Share of bits that arrived wrong [C, R].
        erased_words: Number of erased words [C, R], int64.
        clean: Reception without a bit error, or None if every draw had one.
    """

    codes: Tensor
    erased: Tensor
    signals: np.ndarray
    bit_errors: np.ndarray
    erased_words: np.ndarray
    clean: int | None


def transmit(
    codes: Tensor,
    channels: Sequence[Channel],
    *,
    codebook_sizes: Sequence[int],
    clip_id: str,
    seed: int,
    repeats: int,
) -> Transmission:
    """Send one clip's codes through each channel, `repeats` times.

    Args:
        codes: Codes [1, K, F] of one clip.
        channels: Channels to draw from.
        codebook_sizes: Entries in each of the K codebooks.
        clip_id: Stable name of the clip; with the seed, the channel's family and the repeat it decides the draw.
        seed: Seed of all draws.
        repeats: Draws per channel.
    """
    sent = codes_to_bits(codes.cpu(), codebook_sizes)[0]  # [N]
    received: dict[bytes, int] = {}
    signals = np.zeros((len(channels), repeats), dtype=np.int64)
    bit_errors = np.zeros((len(channels), repeats))
    bits: list[Tensor] = []
    for c, channel in enumerate(channels):
        for r in range(repeats):
            arrived = channel(sent, draw_generator(seed, clip_id, channel.family, r))  # [N]
            key = arrived.numpy().tobytes()
            if key not in received:
                received[key] = len(bits)
                bits.append(arrived)
            signals[c, r] = received[key]
            bit_errors[c, r] = (arrived != sent).double().mean()
    result = bits_to_codes(torch.stack(bits), codebook_sizes)
    erased_words = result.erased.flatten(1).sum(dim=1).numpy()[signals]  # [C, R]
    clean = received.get(sent.numpy().tobytes())
    return Transmission(result.codes, result.erased, signals, bit_errors, erased_words, clean)


@torch.no_grad()
def decode_receptions(
    codec: NeuralCodec, transmission: Transmission, *, length: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Decode each distinct reception, `batch_size` at a time, and yield float32 signals [length] in order."""
    device = next(codec.parameters()).device
    for start in range(0, len(transmission.codes), batch_size):
        part = slice(start, start + batch_size)
        erased = transmission.erased[part]
        audio = codec.decode(
            transmission.codes[part].to(device), erased.to(device) if erased.any() else None, length=length
        )
        yield from audio[:, 0].float().cpu().numpy()  # [S, length]
