"""Parts of live calls for tests: tiny codecs, sinks and sources without devices, a sender's packets."""

import struct
import threading
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from codec import Link, NeuralCodec
from codec.transport.blocks import BlockFormat, stream_header
from codec.transport.header import StreamHeader
from codec.transport.packets import Packet


class Heard:
    """A sink that keeps what it gets."""

    paces = False

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def write(self, audio: Tensor) -> None:
        self.parts.append(audio.clone())

    def close(self) -> None:
        pass

    @property
    def audio(self) -> Tensor:
        return torch.cat([torch.zeros(0), *self.parts])


class Spoken:
    """A source of given audio `[1, 1, T]` at its pace, or at once."""

    ends = True
    behind = 0.0

    def __init__(self, audio: Tensor, sample_rate: int, *, at_once: bool = False) -> None:
        self.audio, self.sample_rate, self.at_once = audio, sample_rate, at_once

    def pieces(self, size: int, stop: threading.Event) -> Iterator[Tensor]:
        began, spoken = time.monotonic(), 0
        for piece in self.audio.split(size, -1):
            spoken += piece.shape[-1]
            if not self.at_once and stop.wait(max(0.0, began + spoken / self.sample_rate - time.monotonic())):
                return
            yield piece


class Packets:
    """The packets of a stream of codes `[1, K, F]`."""

    def __init__(
        self, codec: NeuralCodec, codes: Tensor, *, number: int = 7, size: int = 1, link: Link | None = None
    ) -> None:
        self.codes, self.number = codes, number
        self.header: StreamHeader = stream_header(codec, link or Link(), size)
        blocks = BlockFormat(self.header)
        payload = Link(index_map=(link or Link()).index_map).connect(codec.quantizer).send(codes)[0]
        self.frames = [
            Packet(number, first, len(part), blocks.pack(blocks.rows(part))).pack()
            for first, part in zip(range(0, len(payload), size), payload.split(size), strict=True)
        ]
        self.start = Packet(number, 0, 0, self.header.pack(), is_header=True).pack()
        length = struct.pack(">Q", len(payload) * codec.hop_length)
        self.end = Packet(number, len(payload), 0, length, is_end=True).pack()


def random_codes(codec: NeuralCodec, frames: int, seed: int = 0) -> Tensor:
    """Codes int64 `[1, K, frames]`."""
    draws = torch.Generator().manual_seed(seed)
    return torch.stack([torch.randint(s, (frames,), generator=draws) for s in codec.quantizer.codebook_sizes])[None]
