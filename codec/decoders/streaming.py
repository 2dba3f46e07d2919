"""Decoding of codes as they arrive: audio chunk by chunk, with bounded look-ahead and a stated latency."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from codec.decoders.base import Decoder
from codec.errors import InvalidValue
from codec.quantizers.base import Quantizer
from codec.quantizers.codes import checked_codes

DEFAULT_CONTEXT = (100, 25)  # frames before and after a chunk, for decoders of unbounded receptive field


class DecodedStream:
    """Iterates over the audio of codes, chunk by chunk, each `[B, 1, n]`; made by `NeuralCodec.decode_stream`.

    Each chunk is decoded with frames of context before and after it. If the decoder's receptive field is bounded
    (causal decoders, ConvNeXt) and the context covers it, as it does by default, the chunks together equal the audio of
    `decode` up to rounding; else they are close to it (error −21 dB for NeuCodec at full size with random weights and
    codes).

    Attributes:
        latency: in seconds, from the arrival of the first frame of a chunk to its audio: the remaining frames of the
            chunk and the look-ahead, without computing time.
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
        field = decoder.receptive_field or DEFAULT_CONTEXT
        self.before, self.after = field[0] if before is None else before, field[1] if after is None else after
        if chunk < 1 or self.before < 0 or self.after < 0:
            allowed = f"must be at least 1 frame, before {self.before} and after {self.after} 0 or more"
            raise InvalidValue("chunk", chunk, allowed)
        self.quantizer, self.decoder, self.frame_rate, self.chunk = quantizer, decoder, frame_rate, chunk
        self.pieces = self._checked(codes).split(chunk, -1) if isinstance(codes, Tensor) else codes

    @property
    def latency(self) -> float:
        return (self.chunk - 1 + self.after) / self.frame_rate

    @property
    def is_exact(self) -> bool:
        """Whether the stream equals `decode` up to rounding."""
        field = self.decoder.receptive_field
        return field is not None and self.before >= field[0] and self.after >= field[1]

    def __iter__(self) -> Iterator[Tensor]:
        held: Tensor | None = None  # codes [B, K, F'] of context and of frames that are not decoded yet
        done = 0  # frames of it that are decoded
        for piece in map(self._checked, self.pieces):
            if held is not None and piece.shape[:2] != held.shape[:2]:
                raise InvalidValue(
                    "codes of shape",
                    list(piece.shape),
                    f"follow pieces of {held.shape[0]} clips and {held.shape[1]} codebooks",
                    "keep both the same in all pieces",
                )
            held = piece if held is None else torch.cat((held, piece), -1)
            while held.shape[-1] - done >= self.chunk + self.after:
                yield self._decode(held[..., : done + self.chunk + self.after], done, self.chunk)
                done += self.chunk
                unneeded = max(0, done - self.before)
                held, done = held[..., unneeded:], done - unneeded
        while held is not None and held.shape[-1] > done:
            count = min(self.chunk, held.shape[-1] - done)
            yield self._decode(held[..., : done + count + self.after], done, count)
            done += count

    def _decode(self, codes: Tensor, start: int, count: int) -> Tensor:
        """Audio `[B, 1, count * hop]` of `count` frames of codes `[B, K, F]` from frame `start` on."""
        hop = self.decoder.hop_length
        with torch.no_grad():
            audio = self.decoder(self.quantizer.decode(codes))
        return audio[..., start * hop : (start + count) * hop]

    def _checked(self, codes: Tensor) -> Tensor:
        """Codes as int64; raises InvalidValue if they do not fit the quantizer."""
        return checked_codes(codes, self.quantizer.codebook_sizes)
