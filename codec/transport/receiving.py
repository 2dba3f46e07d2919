"""Received frames to audio in bounded memory: concealment and decoding in overlapping windows."""

from collections.abc import Iterator

import torch
from torch import Tensor

from codec.channels.base import hard_if_certain
from codec.channels.link import Connection
from codec.codec import NeuralCodec
from codec.layers.windows import Window, Windows

CHUNK_SECONDS, CONTEXT_SECONDS = 30.0, 5.0


class StreamDecoder:
    """Turns payload bits into audio, window by window.

    Each window of 30 s is concealed with 5 s of frames on either side beyond the decoder's receptive field, or beyond
    another 5 s where that is unbounded. So memory is bounded, and the audio is that of the undivided stream up to
    rounding, where the receptive field is bounded and the concealment looks no further than 5 s; one that weighs the
    whole clip, such as `PosteriorMean` with a prior and no `lookahead`, comes near.

    Attributes:
        frames: so far.
        concealed: frames so far of which a code was lost.

    Args:
        codec: decodes.
        connection: the receiver's end, `codec.transport.blocks.connect`.
        length: samples of the input, where it is known; the audio ends with it.
    """

    def __init__(self, codec: NeuralCodec, connection: Connection, *, length: int | None = None) -> None:
        self.codec, self.connection, self.length = codec, connection, length
        self.frames = self.concealed = 0
        context = round(CONTEXT_SECONDS * codec.frame_rate)
        self._field = codec.decoder.receptive_field or (context, context)
        chunk = max(1, round(CHUNK_SECONDS * codec.frame_rate))
        self._windows = Windows(chunk, self._field[0] + context, self._field[1] + context)
        self._written = 0

    def push(self, payload: Tensor) -> Iterator[Tensor]:
        """Audio float32 `[T]` of the windows that further payload `[F, n]`, uint8 or probabilities, completes."""
        for window in self._windows.push(payload.float().T):
            yield from self._trimmed(self._decode(window))

    def finish(self) -> Iterator[Tensor]:
        """The rest; set `length` before where only the stream's end told it."""
        for window in self._windows.finish():
            yield from self._trimmed(self._decode(window))

    @torch.no_grad()
    def _decode(self, window: Window) -> Tensor:
        bits = hard_if_certain(window.signal.T[None])  # [1, F, n]
        reception = self.connection.receive(bits.to(self.codec.device))
        own = slice(window.start, window.start + window.size)
        self.frames += window.size
        self.concealed += int(reception.erased.any(1)[0, own].sum())
        latents = self.connection.latents(reception)
        first = max(0, window.start - self._field[0])
        last = min(latents.shape[-1], window.start + window.size + self._field[1])
        audio = self.codec.decode_latents(self.codec.condition(latents, reception.bits)[..., first:last])
        hop = self.codec.decoder.hop_length
        return audio[0, 0, (window.start - first) * hop : (window.start - first + window.size) * hop].cpu()

    def _trimmed(self, audio: Tensor) -> Iterator[Tensor]:
        """Without what the last frame has beyond the input."""
        if self.length is not None:
            audio = audio[: max(0, self.codec.output_length(self.length) - self._written)]
        self._written += len(audio)
        if len(audio):
            yield audio
