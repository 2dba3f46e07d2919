"""Encoding of audio of any length in bounded memory: codes chunk by chunk, from overlapping windows."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from codec.encoders.base import Encoder
from codec.errors import InvalidValue
from codec.layers.inputs import checked_audio, require_tensor
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
        """A piece `[B, 1, n]`, possibly empty, as float32; raises InvalidValue as `NeuralCodec.encode` does."""
        empty = isinstance(audio, Tensor) and audio.ndim == 3 and audio.shape[1:] == (1, 0)
        return audio if empty else checked_audio(audio, self.encoder)
