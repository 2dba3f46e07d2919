"""Causal codecs of a few thousand weights, for tests of live streams."""

from typing import Any

import torch
from torch import Tensor

from codec import (
    FSQ,
    RVQ,
    ConvNeXtBackbone,
    EMACodebook,
    MelEncoder,
    NeuralCodec,
    SpectralEncoder,
    StudentEncoder,
    TransformerBackbone,
    VocosDecoder,
)

HOP = 40
STUDENT = dict(strides=(2, 4), depths=(1, 1, 2), attention_stride=5, attention_depth=2, heads=2, window=7)
STREAMING_CODECS = {
    "small": lambda: NeuralCodec(
        SpectralEncoder(16, HOP, width=8, depth=2, causal=True),
        FSQ(16, (4, 4, 4)),
        VocosDecoder(ConvNeXtBackbone(16, 16, depth=2, causal=True), HOP, window=2),
        sample_rate=8_000,
    ),
    "24 kHz, four hops": lambda: NeuralCodec(
        MelEncoder(16, HOP, bands=9, width=8, sample_rate=8_000, causal=True),
        RVQ(16, [EMACodebook(8, 4), EMACodebook(8, 4)]),
        VocosDecoder(ConvNeXtBackbone(16, 16, depth=1, causal=True), 60, window=4),
        sample_rate=8_000,
    ),
    "attention": lambda: NeuralCodec(
        StudentEncoder(16, (4, 8, 8), **STUDENT, causal=True),
        FSQ(16, (4, 4, 4)),
        VocosDecoder(TransformerBackbone(16, 256, depth=2, heads=2, window=9, causal=True), HOP, window=3),
        sample_rate=8_000,
    ),
}


def streaming_codec(name):
    """One of them in evaluation mode, with random weights of which every branch counts."""
    torch.manual_seed(0)
    codec = STREAMING_CODECS[name]().eval()
    with torch.no_grad():
        for key, parameter in codec.named_parameters():
            if key.rpartition(".")[2] in ("scale", "gamma"):
                parameter.fill_(0.5)
        codec.decoder.head.bias[: codec.decoder.n_fft // 2 + 1] -= 1.0
    return codec


def state_tensors(state: Any) -> list[Tensor]:
    """All tensors of a stream's state."""
    if isinstance(state, tuple):
        return [tensor for part in state for tensor in state_tensors(part)]
    return [state] if isinstance(state, Tensor) else []
