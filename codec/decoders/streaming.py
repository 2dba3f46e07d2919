"""Decoding of codes as they arrive, audio chunk by chunk: by a causal decoder's state, or from overlapping windows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from codec.decoders.base import Decoder
from codec.errors import InvalidValue
from codec.layers.inputs import check_latents, check_place, require_tensor
from codec.layers.streaming import Stream, Streaming, check_streams, form, restarted
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


class DecodingState(NamedTuple):
    """State of a `StreamingDecoder`.

    Attributes:
        skip: samples to come that lie before the start of all streams, and are left out.
        early: int64 `[B]`, samples to come that lie before the start of each stream; those that are not left out, as
            another stream has audio there, are silent.
        decoder: the decoder's own.
    """

    skip: int
    early: Tensor
    decoder: Any


class StreamingDecoder(Stream[DecodingState]):
    """Decodes codes as they arrive with a causal decoder, nothing anew; made by `NeuralCodec.streaming_decoder`.

    The audio of all steps and of `finish` together is that of `decode` on all codes up to rounding. A step gives the
    samples that no later frame adds to: the first ones `lookahead` samples fewer than their frames have, `finish` the
    missing ones. Each stream of the batch has what it has alone.

    Attributes:
        lookahead: samples of a frame's audio that later frames add to.
        latency: in seconds, from a frame's codes to its last sample, without computing time: that look-ahead.
    """

    def __init__(self, quantizer: Quantizer, decoder: Decoder, *, batch: int, sample_rate: int) -> None:
        super().__init__(batch)
        check_streams(decoder, instead="decode_stream")
        self.quantizer, self.decoder = quantizer, decoder
        self.lookahead = decoder.lookahead
        self.latency = decoder.lookahead / sample_rate
        with torch.no_grad():
            self._form = form(cast(Streaming[Any], decoder).start(batch))
        self.reset()

    def reset(self, rows: Tensor | Sequence[bool] | None = None) -> None:
        """Begin anew.

        Args:
            rows: bool `[B]`, the streams that begin anew, while the others go on; all by default. The last `lookahead`
                samples of their old audio are dropped, and as many of silence come before the new.

        Raises:
            InvalidValue: `rows` is something else.
        """
        with torch.no_grad():
            fresh = cast(Streaming[Any], self.decoder).start(self.batch)
            early = torch.full((self.batch,), self.lookahead, device=self.quantizer.device)
            skip = self.lookahead
            if rows is not None:
                state = self.current()
                chosen = self.chosen(rows, early.device)
                fresh, early = restarted((state.decoder, state.early), (fresh, early), chosen)
                skip = state.skip
            self.state = DecodingState(skip, early, fresh)

    def fits(self, state: Any) -> bool:
        if not isinstance(state, DecodingState) or not isinstance(state.skip, int):
            return False
        return form(state.early) == (self.batch,) and form(state.decoder) == self._form

    def step(self, codes: Tensor, erased: Tensor | None = None) -> Tensor:
        """Audio float32 `[B, 1, n]` that further codes `[B, K, F]` complete, F from 0; `erased` as of `decode`.

        Raises:
            InvalidValue: another number of streams, codes that `decode` refuses, the streams have ended, or a
                `state` was set that is of another kind.
        """
        check_place(codes, self.decoder, name="codes")
        self.check_batch(codes, "codes")
        if not codes.shape[-1]:
            return self._no_audio()
        codes = checked_codes(codes, self.quantizer.codebook_sizes, erased)
        with torch.no_grad():
            return self.step_latents(self.quantizer.decode(codes, erased))

    def step_latents(self, latents: Tensor) -> Tensor:
        """Audio of quantized latents `[B, D, F]` instead, as a receiver that conceals has them; see `step`."""
        state = self.current()
        check_latents(latents, self.quantizer.dim, self.decoder.hop_length)
        self.check_batch(latents, "latents")
        if not latents.shape[-1]:
            return self._no_audio()
        with torch.no_grad():
            audio, inner = cast(Streaming[Any], self.decoder).step(latents, state.decoder)
        samples = audio.shape[-1]
        place = torch.arange(samples, device=audio.device)
        audio = audio.masked_fill((place < state.early[:, None])[:, None], 0.0)
        skipped = min(state.skip, samples)
        self.state = DecodingState(state.skip - skipped, (state.early - samples).clamp_min(0), inner)
        return audio[..., skipped:]

    def finish(self) -> Tensor:
        """The last samples `[B, 1, n]`, at most `lookahead`. The streams have ended then."""
        state = self.current()
        self.state = None
        if not self.lookahead:
            return self._no_audio()
        with torch.no_grad():
            tail = self.decoder.finish(state.decoder)
        place = torch.arange(tail.shape[-1], device=tail.device)
        return tail.masked_fill((place < state.early[:, None])[:, None], 0.0)[..., state.skip :]

    def _no_audio(self) -> Tensor:
        return torch.zeros(self.batch, 1, 0, device=self.quantizer.device)
