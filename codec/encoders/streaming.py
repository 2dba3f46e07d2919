"""Encoding of audio of any length, codes chunk by chunk: with a causal encoder's state, or from overlapping windows."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.layers.inputs import checked_audio, require_tensor
from codec.layers.streaming import Stream, Streaming, check_streams, form, restarted
from codec.layers.windows import Window, Windows
from codec.quantizers.base import Quantizer

CHUNK_SECONDS = 30.0
CONTEXT_SECONDS = 5.0  # on each side of a chunk, for encoders of unbounded receptive field


class EncodedStream:
    """Iterates over the codes of audio, chunk by chunk, each int64 `[B, K, n]`; made by `NeuralCodec.encode_stream`.

    Each chunk is encoded with frames of context before and after it. If the encoder's receptive field is bounded
    (convolutions on samples or spectra) and the context covers it, as it does by default, the latents equal those of
    `encode` up to rounding, and so do the codes, but for a latent that lies on the border of two codes. Encoders that
    look at the whole clip (attention over all frames, statistics over time, recurrent layers) give nearby latents, of
    which some have other codes.

    Attributes:
        latency: in seconds, from the first sample of a chunk to its codes, without computing time.
    """

    def __init__(
        self,
        encoder: Encoder,
        quantizer: Quantizer,
        audio: Tensor | Iterable[Tensor],
        *,
        frame_rate: float,
        chunk: int | None,
        before: int | None,
        after: int | None,
    ) -> None:
        context = round(CONTEXT_SECONDS * frame_rate)
        field = encoder.receptive_field or (context, context)
        self.before, self.after = field[0] if before is None else before, field[1] if after is None else after
        self.chunk = max(1, round(CHUNK_SECONDS * frame_rate)) if chunk is None else chunk
        if self.chunk < 1 or self.before < 0 or self.after < 0:
            allowed = f"must be at least 1 frame, before {self.before} and after {self.after} 0 or more"
            raise InvalidValue("chunk", self.chunk, allowed)
        self.encoder, self.quantizer, self.frame_rate = encoder, quantizer, frame_rate
        step = self.chunk * encoder.hop_length
        if not isinstance(audio, Iterable):
            require_tensor(audio, "audio")
        self.pieces = self._checked(audio).split(step, -1) if isinstance(audio, Tensor) else audio

    @property
    def latency(self) -> float:
        return (self.chunk + self.after) / self.frame_rate

    @property
    def is_exact(self) -> bool:
        """Whether the latents equal those of the undivided audio up to rounding."""
        field = self.encoder.receptive_field
        return field is not None and self.before >= field[0] and self.after >= field[1]

    def __iter__(self) -> Iterator[Tensor]:
        windows, clips = self.windows(), None
        for piece in map(self._checked, self.pieces):
            if clips not in (None, piece.shape[0]):
                shape = list(piece.shape)
                raise InvalidValue("audio of shape", shape, f"follows pieces of {clips} clips", "keep it the same")
            clips = piece.shape[0]
            yield from map(self.encode, windows.push(piece))
        yield from map(self.encode, windows.finish())

    def windows(self) -> Windows:
        """Cuts pieces of audio `[B, 1, n]` into what `encode` takes."""
        hop = self.encoder.hop_length
        return Windows(self.chunk * hop, self.before * hop, self.after * hop)

    def encode(self, window: Window) -> Tensor:
        """Codes `[B, K, ⌈size / hop⌉]` of a window's own samples."""
        hop = self.encoder.hop_length
        first = window.start // hop
        with torch.no_grad():
            latents = self.encoder(self.encoder.whole_frames(window.signal))
            return self.quantizer(latents[..., first : first - (-window.size // hop)]).codes

    def _checked(self, audio: Tensor) -> Tensor:
        return checked_piece(audio, self.encoder)


class EncodingState(NamedTuple):
    """State of a `StreamingEncoder`.

    Attributes:
        pending: samples `[B, 1, n]` of a frame that is not whole yet, n below the hop.
        encoder: the encoder's own.
    """

    pending: Tensor
    encoder: Any


class StreamingEncoder(Stream[EncodingState]):
    """Encodes live audio with a causal encoder: every sample once, nothing anew; by `NeuralCodec.streaming_encoder`.

    The latents of all steps and of `finish` together are those of `encode_latents` on the whole audio up to rounding,
    and so are the codes, but for a latent that lies on the border of two codes. Each stream of the batch has what it
    has alone. Quantizers treat every frame alone.

    Attributes:
        latency: in seconds, from the first sample of a frame to its codes, without computing time: one frame.
    """

    def __init__(self, encoder: Encoder, quantizer: Quantizer, *, batch: int, sample_rate: int) -> None:
        super().__init__(batch)
        check_streams(encoder, instead="encode_stream")
        self.encoder, self.quantizer = encoder, quantizer
        self.latency = encoder.hop_length / sample_rate
        with torch.no_grad():
            self._form = form(cast(Streaming[Any], encoder).start(batch))
        self.reset()

    def reset(self, rows: Tensor | Sequence[bool] | None = None) -> None:
        """Begin anew.

        Args:
            rows: bool `[B]`, the streams that begin anew; all by default. Single ones can only between two frames, as
                the streams share the borders of frames.

        Raises:
            InvalidValue: `rows` is something else, or samples of an unfinished frame are waiting.
        """
        with torch.no_grad():
            fresh = cast(Streaming[Any], self.encoder).start(self.batch)
            pending = torch.zeros(self.batch, 1, 0, device=self.quantizer.device)
            if rows is not None:
                state = self.current()
                if state.pending.shape[-1]:
                    allowed = f"cannot begin anew with {state.pending.shape[-1]} samples of a frame waiting"
                    raise InvalidValue("Single streams", None, allowed, "give them the rest of the frame first")
                fresh = restarted(state.encoder, fresh, self.chosen(rows, state.pending.device))
            self.state = EncodingState(pending, fresh)

    def fits(self, state: Any) -> bool:
        if not isinstance(state, EncodingState) or not isinstance(state.pending, Tensor):
            return False
        return state.pending.shape[:-1] == (self.batch, 1) and form(state.encoder) == self._form

    def step(self, audio: Tensor) -> Tensor:
        """Codes int64 `[B, K, n]` of the frames that a further piece of audio `[B, 1, T]` completes, n from 0.

        Raises:
            InvalidValue: another number of streams, audio that `encode` refuses, though not an empty piece, the
                streams have ended, or a `state` was set that is of another kind.
        """
        return self._codes(self.step_latents(audio))

    def step_latents(self, audio: Tensor) -> Tensor:
        """The latents before quantization `[B, D, n]` instead; see `step`."""
        pending, state = self.current()
        audio = checked_piece(audio, self.encoder)
        self.check_batch(audio, "audio")
        samples = torch.cat((pending.to(audio.device), audio), -1)
        whole = samples.shape[-1] - samples.shape[-1] % self.encoder.hop_length
        latents = audio.new_zeros(self.batch, self.encoder.dim, 0)
        if whole:
            with torch.no_grad():
                latents, state = cast(Streaming[Any], self.encoder).step(samples[..., :whole], state)
        self.state = EncodingState(samples[..., whole:].clone(), state)
        return latents

    def finish(self) -> Tensor:
        """The codes `[B, K, n]` of the last frame, filled with silence, n 0 or 1. The streams have ended then."""
        return self._codes(self.finish_latents())

    def finish_latents(self) -> Tensor:
        """Its latents `[B, D, n]` instead; see `finish`."""
        pending = self.current().pending
        latents = self.step_latents(
            F.pad(pending, (0, -pending.shape[-1] % self.encoder.hop_length))[..., pending.shape[-1] :]
        )
        self.state = None
        return latents

    def _codes(self, latents: Tensor) -> Tensor:
        if not latents.shape[-1]:
            stages = len(self.quantizer.codebook_sizes)
            return torch.zeros(self.batch, stages, 0, dtype=torch.long, device=latents.device)
        with torch.no_grad():
            return self.quantizer(latents).codes


def checked_piece(audio: Tensor, encoder: Encoder) -> Tensor:
    """A piece `[B, 1, n]`, possibly empty, as float32; raises InvalidValue as `NeuralCodec.encode` does."""
    empty = isinstance(audio, Tensor) and audio.ndim == 3 and audio.shape[1:] == (1, 0)
    return audio if empty else checked_audio(audio, encoder)
