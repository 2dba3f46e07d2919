"""Small codecs of every kind that can be exported, with random weights."""

import torch
from torch import nn

from codec import (
    BSQ,
    FSQ,
    RVQ,
    AcousticEncoder,
    ChannelOptimizedCodebook,
    ConvNeXtBackbone,
    DoubleTanhBound,
    EMACodebook,
    LearnedCodebook,
    MelEncoder,
    NeuralCodec,
    ResidualFSQ,
    SpectralEncoder,
    StudentEncoder,
    TransformerBackbone,
    VocosDecoder,
)

DIM, HOP = 16, 40


def spectral() -> nn.Module:
    return SpectralEncoder(DIM, HOP, width=16, depth=1)


def acoustic(*, anti_aliased: bool = True) -> nn.Module:
    return AcousticEncoder(DIM, 4, strides=(2, 4, 5), anti_aliased=anti_aliased)


def student(*, causal: bool = False) -> nn.Module:
    return StudentEncoder(DIM, (4, 8), strides=(8,), depths=(1, 1), attention_depth=1, heads=2, window=4, causal=causal)


def transformer(*, causal: bool = False, positions: bool = True) -> nn.Module:
    # Of 32 groups in a frame, GroupNorm needs several values each: one is refused, and two are as often nearly equal.
    return TransformerBackbone(DIM, 256, depth=1, heads=2, causal=causal, window=3, positions=positions)


ENCODERS = {
    "spectral": spectral,
    "causal spectral": lambda: SpectralEncoder(DIM, HOP, width=16, depth=1, causal=True),
    "causal mel": lambda: MelEncoder(DIM, HOP, bands=10, width=16, depth=1, causal=True),
    "spectral, standardised": lambda: SpectralEncoder(DIM, HOP, width=16, depth=1, mean=-4.0, std=2.3),
    "spectral, windows of 2 hops": lambda: SpectralEncoder(DIM, HOP, width=16, depth=1, window=2),
    "mel": lambda: MelEncoder(DIM, HOP, bands=10, width=16, depth=1),
    "acoustic": acoustic,
    "acoustic, not anti-aliased": lambda: acoustic(anti_aliased=False),
    "student": student,
    "causal student": lambda: student(causal=True),
}
QUANTIZERS = {
    "fsq": lambda: FSQ(DIM, (4,) * 8),
    "fsq of odd levels": lambda: FSQ(DIM, (2, 3, 5), bound=DoubleTanhBound()),
    "residual fsq": lambda: ResidualFSQ(DIM, (4, 3, 4), stages=2),
    "bsq": lambda: BSQ(DIM, 12),
    "rvq": lambda: RVQ(DIM, [EMACodebook(32, 8), EMACodebook(16, 8)]),
    "rvq, learned": lambda: RVQ(DIM, [LearnedCodebook(32, 8), LearnedCodebook(16, 4)]),
    "rvq without projections": lambda: RVQ(DIM, [EMACodebook(32, DIM), LearnedCodebook(16, DIM)]),
    "rvq, channel-optimised": lambda: RVQ(DIM, [ChannelOptimizedCodebook(32, 8, bit_error_rate=0.1)]),
}
BACKBONES = {
    "convnext": lambda: ConvNeXtBackbone(DIM, 16, depth=1),
    "causal convnext": lambda: ConvNeXtBackbone(DIM, 16, depth=1, causal=True),
    "transformer": transformer,
    "transformer without positions": lambda: transformer(positions=False),
    "causal transformer": lambda: transformer(causal=True),
}


def random_codec(
    encoder: str = "spectral", quantizer: str = "fsq", backbone: str = "convnext", *, window: int = 4, spectra: int = 1
) -> NeuralCodec:
    """A codec in eval mode, its weights far enough from their start that every term counts."""
    torch.manual_seed(0)
    decoder = VocosDecoder(BACKBONES[backbone](), HOP, window=window, spectra=spectra)
    codec = NeuralCodec(ENCODERS[encoder](), QUANTIZERS[quantizer](), decoder)
    for weight in codec.parameters():
        weight.data += 0.1 * torch.randn_like(weight)
    return codec.eval()
