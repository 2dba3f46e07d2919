"""Encoding and decoding at the pace of speech, a packet or a frame at a time, with a stated delay."""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from codec.channels.base import hard_if_certain
from codec.channels.link import Connection
from codec.codec import NeuralCodec
from codec.errors import InvalidValue
from codec.layers.streaming import obstacle

LOOK_AHEAD = 5  # frames by default, where a codec looks ahead at all
CONCEALING = 25  # frames before a frame that concealment sees where the decoder keeps a state
LONGEST_CONTEXT = 50  # frames before a frame, where the receptive field is longer or unbounded


class LiveEncoder:
    """Encodes speech as it is spoken: codes of a packet as soon as its look-ahead was spoken too.

    A causal encoder goes on from where it was. Another one gets each packet between its receptive field before it, 50
    frames at most, and `look_ahead` frames after it; the codes are those of the undivided clip where that covers the
    receptive field.

    Attributes:
        packet_samples: of the input, in a packet.
        delay: in seconds, from a packet's first sample to its codes, without computing time.

    Args:
        codec: encodes.
        packet_frames: frames of a packet.
        look_ahead: frames after a packet, at most; an encoder with a smaller receptive field takes fewer.
    """

    def __init__(self, codec: NeuralCodec, packet_frames: int, *, look_ahead: int = LOOK_AHEAD) -> None:
        self.packet_samples = packet_frames * codec.hop_length
        before, after = _contexts(codec.encoder.receptive_field, look_ahead)
        self._causal = None if obstacle(codec.encoder) else codec.streaming_encoder()
        self._stream = codec.encode_stream([], chunk=packet_frames, before=before, after=after)
        self._windows = self._stream.windows()
        self.delay = self._stream.latency if self._causal is None else packet_frames / codec.frame_rate

    def push(self, samples: Tensor) -> Iterator[Tensor]:
        """Codes `[1, K, packet_frames]` of each packet that further samples `[1, 1, n]` complete.

        Samples come in whole packets, but for the last ones.
        """
        if self._causal is None:
            yield from map(self._stream.encode, self._windows.push(samples))
        elif (codes := self._causal.step(samples)).shape[-1]:
            yield codes

    def finish(self) -> Iterator[Tensor]:
        """Codes of the rest; the last packets may have fewer frames."""
        if self._causal is None:
            yield from map(self._stream.encode, self._windows.finish())
        elif (codes := self._causal.finish()).shape[-1]:
            yield codes


class Played(NamedTuple):
    """A frame for the listener.

    Attributes:
        audio: float32 `[decoder hop]`.
        concealed: whether a code of it was lost.
    """

    audio: Tensor
    concealed: bool


class LiveDecoder:
    """Decodes one frame at a time: concealment first, among the frames played before it and those held after it.

    A causal decoder goes on from where it was. Another one decodes each frame anew between the frames played before it
    and those held after it. The frames ahead are what the jitter buffer holds anyway, so they add no delay; what has
    not come yet is concealed for the time being, and may be there when its turn comes.

    Attributes:
        look_ahead: frames after the one that is played that `play` can use.
        delay: in seconds, from a frame's turn to its audio, without computing time.

    Args:
        codec: decodes.
        connection: the receiver's end of the stream, with its concealment.
        look_ahead: frames after a frame, at most; a decoder with a smaller receptive field takes fewer.
    """

    def __init__(self, codec: NeuralCodec, connection: Connection, *, look_ahead: int = LOOK_AHEAD) -> None:
        self.codec, self.connection = codec, connection
        before, after = _contexts(codec.decoder.receptive_field, look_ahead)
        self._causal = None if obstacle(codec.decoder) else codec.streaming_decoder()
        if self._causal is not None:
            before, after = CONCEALING, 0
        self.delay = 0.0 if self._causal is None else self._causal.latency
        self.look_ahead = max(after, connection.delay_frames)
        self._played: deque[Tensor] = deque(maxlen=before)
        self._lost = torch.full((connection.bits_per_frame,), 0.5)

    @torch.inference_mode()
    def play(self, frame: Tensor | None, ahead: Sequence[Tensor | None] = ()) -> Played:
        """Audio of a frame.

        Args:
            frame: its payload bits or probabilities of a one, float32 `[n]`; None where it is lost.
            ahead: the same of the frames after it, of which the first `look_ahead` are used.
        """
        following = [*ahead[: self.look_ahead], *[None] * (self.look_ahead - len(ahead))]
        rows = [self._lost if row is None else row for row in (frame, *following)]
        bits = hard_if_certain(torch.stack([*self._played, *rows])[None]).to(self.codec.device)  # [1, F, n]
        place = len(self._played)
        self._played.append(rows[0])
        reception = self.connection.receive(bits)
        latents = self.codec.condition(self.connection.latents(reception), bits)
        audio = self._decode(latents, place)
        return Played(audio.cpu(), bool(reception.erased[0, :, place].any()))

    def _decode(self, latents: Tensor, place: int) -> Tensor:
        hop = self.codec.decoder.hop_length
        if self._causal is None:
            return self.codec.decode_latents(latents)[0, 0, place * hop : (place + 1) * hop]
        audio = self._causal.step_latents(latents[..., place : place + 1])[0, 0]
        return F.pad(audio, (hop - len(audio), 0))  # the first steps give fewer samples


def _contexts(field: tuple[int, int] | None, look_ahead: int) -> tuple[int, int]:
    """Frames before and after."""
    if not 0 <= look_ahead <= LONGEST_CONTEXT:
        raise InvalidValue("look_ahead", look_ahead, f"must be 0 to {LONGEST_CONTEXT} frames", f"take {LOOK_AHEAD}")
    before, after = field or (LONGEST_CONTEXT, LONGEST_CONTEXT)
    return min(before, LONGEST_CONTEXT), min(after, look_ahead)


class Fading:
    """Gain over runs of lost frames: full for `hold` seconds, then down to silence in `fade` seconds, linearly.

    With the next frame received the gain returns to one within that frame. A single lost frame is played at full gain.
    """

    def __init__(self, frame_seconds: float, *, hold: float = 0.12, fade: float = 0.2) -> None:
        self._hold, self._step = max(1, round(hold / frame_seconds)), min(1.0, frame_seconds / fade)
        self._run, self._gain = 0, 1.0

    def __call__(self, audio: Tensor, *, lost: bool) -> Tensor:
        """The audio `[T]` of the next frame, with its gain."""
        self._run = self._run + 1 if lost else 0
        before = self._gain
        self._gain = max(0.0, before - self._step) if self._run > self._hold else (before if lost else 1.0)
        if before == self._gain == 1:
            return audio
        return audio * torch.linspace(before, self._gain, len(audio))
