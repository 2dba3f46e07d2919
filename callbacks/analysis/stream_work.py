"""Work of live streams: operations per second of audio in steps, against those for the whole clip at once."""

from __future__ import annotations

import math
from typing import NamedTuple, cast

from torch import Tensor, nn

from callbacks.analysis.macs import count_macs
from callbacks.metrics.checks import require_at_least
from codec.codec import NeuralCodec
from codec.layers.streaming import Streaming, check_streams


class StreamWork(NamedTuple):
    """Operations of a part for each second of one stream.

    Attributes:
        stream: multiply-accumulates in steps, by the rules of `count_macs`.
        whole: multiply-accumulates of `forward` on the whole clip.
        transforms: floating-point operations of the FFTs, 5 N log₂ N for each frame, real or not.
    """

    stream: float
    whole: float
    transforms: float

    @property
    def flops(self) -> float:
        """Floating-point operations per second of a stream: two for a multiply-accumulate, and those of the FFTs.

        Norms, activations and whatever else works element by element are not in it.
        """
        return 2 * self.stream + self.transforms


class Step(nn.Module):
    """A part's step, as a module of one input: a count does not depend on what came before."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        part = cast(Streaming, self.part)
        return part.step(x, part.start(x.shape[0]))[0]


def stream_work(codec: NeuralCodec, *, chunk: int = 1, seconds: float = 4.0) -> dict[str, StreamWork]:
    """What the parts of a causal codec compute for each second of audio, in steps and at once.

    Args:
        codec: with a causal encoder and decoder.
        chunk: frames of a step.
        seconds: of the whole clip, rounded to whole chunks, at least one.

    Returns:
        `encoder`, `quantizer` (latents to codes and back) and `decoder`.

    Raises:
        InvalidValue: `chunk` is below 1, or a part does not stream.
    """
    require_at_least(1, chunk=chunk)
    check_streams(codec.encoder, instead="encode_stream")
    check_streams(codec.decoder, instead="decode_stream")
    frames = chunk * max(1, round(seconds * codec.frame_rate / chunk))
    parts: dict[str, tuple[nn.Module, nn.Module, int, int]] = {  # in steps, at once, channels, positions of a frame
        "encoder": (Step(codec.encoder), codec.encoder, 1, codec.encoder.hop_length),
        "quantizer": (codec.quantizer, codec.quantizer, codec.quantizer.dim, 1),
        "decoder": (Step(codec.decoder), codec.decoder, codec.decoder.dim, 1),
    }
    found = {}
    for name, (step, part, channels, hop) in parts.items():
        n_fft = getattr(part, "n_fft", 0)
        found[name] = StreamWork(
            stream=count_macs(step, (1, channels, chunk * hop)) / chunk * codec.frame_rate,
            whole=count_macs(part, (1, channels, frames * hop)) / frames * codec.frame_rate,
            transforms=5 * n_fft * math.log2(n_fft) * codec.frame_rate if n_fft else 0.0,
        )
    return found
