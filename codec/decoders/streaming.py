"""Decoding of codes as they arrive: audio chunk by chunk, with bounded look-ahead and a stated latency."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from codec.decoders.base import Decoder
from codec.errors import InvalidValue
from codec.layers.inputs import check_place, require_tensor
from codec.layers.windows import Window, Windows
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
        if not isinstance(codes, Iterable):
            require_tensor(codes, "codes")
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
        windows, shape = self.windows(), None
        for piece in map(self._checked, self.pieces):
            if shape is not None and piece.shape[:2] != shape:
                raise InvalidValue(
                    "codes of shape",
                    list(piece.shape),
                    f"follow pieces of {shape[0]} clips and {shape[1]} codebooks",
                    "keep both the same in all pieces",
                )
            shape = piece.shape[:2]
            yield from map(self.decode, windows.push(piece))
        yield from map(self.decode, windows.finish())

    def windows(self) -> Windows:
        """Cuts pieces of codes `[B, K, F]` into what `decode` takes."""
        return Windows(self.chunk, self.before, self.after)

    def decode(self, window: Window) -> Tensor:
        """Audio `[B, 1, size * hop]` of a window's own frames."""
        hop = self.decoder.hop_length
        with torch.no_grad():
            audio = self.decoder(self.quantizer.decode(window.signal))
        return audio[..., window.start * hop : (window.start + window.size) * hop]

    def _checked(self, codes: Tensor) -> Tensor:
        """Codes as int64; raises InvalidValue if they do not fit the quantizer or are elsewhere."""
        check_place(codes, self.decoder, name="codes")
        return checked_codes(codes, self.quantizer.codebook_sizes)
