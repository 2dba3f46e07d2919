"""Decoding of codes that arrive bit by bit: audio chunk by chunk, with bounded look-ahead and a stated latency."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from codec.decoders.base import Decoder
from codec.quantizers.base import Quantizer
from codec.quantizers.codes import checked_codes

UNBOUNDED = (100, 25)  # frames around a chunk where the decoder itself has no bound


class DecodedStream:
    """Iterates over the audio `[B, 1, n]` of codes, chunk after chunk; the chunks joined are the whole.

    Each chunk is decoded with the frames around it on which its audio depends. Where the decoder's receptive field is
    bounded (causal decoders, ConvNeXt) and `before` and `after` cover it, as they do by default, the stream equals the
    whole decode up to rounding; else it comes near (NeuCodec at full size, random weights and codes: −21 dB).

    Attributes:
        latency: seconds from a frame's last code to the audio of a chunk that begins with it: the chunk's further
            frames and the look-ahead. Computing time comes on top.
    """

    def __init__(
        self,
        quantizer: Quantizer,
        decoder: Decoder,
        codes: Tensor | Iterable[Tensor],
        *,
        frame_rate: float,
        chunk: int,
        before: int | None,
        after: int | None,
    ) -> None:
        field = decoder.receptive_field or UNBOUNDED
        self.before, self.after = field[0] if before is None else before, field[1] if after is None else after
        if chunk < 1 or self.before < 0 or self.after < 0:
            raise ValueError(
                f"chunk {chunk} must be at least 1 frame, before {self.before} and after {self.after} 0 or more."
            )
        self.quantizer, self.decoder, self.frame_rate, self.chunk = quantizer, decoder, frame_rate, chunk
        self.pieces = self._checked(codes).split(chunk, -1) if isinstance(codes, Tensor) else codes

    @property
    def latency(self) -> float:
        return (self.chunk - 1 + self.after) / self.frame_rate

    @property
    def is_exact(self) -> bool:
        """Whether the stream equals the whole decode up to rounding."""
        field = self.decoder.receptive_field
        return field is not None and self.before >= field[0] and self.after >= field[1]

    def __iter__(self) -> Iterator[Tensor]:
        held: Tensor | None = None  # [B, K, frames before and after the next chunk]
        done = 0  # frames of it whose audio is out
        for piece in map(self._checked, self.pieces):
            if held is not None and piece.shape[:2] != held.shape[:2]:
                raise ValueError(
                    f"codes of shape {list(piece.shape)} follow pieces of {held.shape[0]} clips and {held.shape[1]} "
                    "codebooks: keep both the same in all pieces."
                )
            held = piece if held is None else torch.cat((held, piece), -1)
            while held.shape[-1] - done >= self.chunk + self.after:
                yield self._decode(held[..., : done + self.chunk + self.after], done, self.chunk)
                done += self.chunk
                spare = max(0, done - self.before)
                held, done = held[..., spare:], done - spare
        while held is not None and held.shape[-1] > done:
            count = min(self.chunk, held.shape[-1] - done)
            yield self._decode(held[..., : done + count + self.after], done, count)
            done += count

    def _decode(self, codes: Tensor, start: int, count: int) -> Tensor:
        """Audio of `count` frames from `start` on."""
        hop = self.decoder.hop_length
        with torch.no_grad():
            audio = self.decoder(self.quantizer.decode(codes))
        return audio[..., start * hop : (start + count) * hop]

    def _checked(self, codes: Tensor) -> Tensor:
        return checked_codes(codes, self.quantizer.codebook_sizes)
