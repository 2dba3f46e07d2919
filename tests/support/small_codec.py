"""A small codec that every test can build in milliseconds."""

import torch

from codec import FSQ, ConvNeXtBackbone, NeuralCodec, SpectralEncoder, VocosDecoder


def small_codec(levels: tuple[int, ...] = (4,) * 4, *, hop: int = 160, output_hop: int | None = None) -> NeuralCodec:
    torch.manual_seed(0)
    decoder = VocosDecoder(ConvNeXtBackbone(16, 32, depth=1), output_hop or hop)
    return NeuralCodec(SpectralEncoder(16, hop, width=32, depth=1), FSQ(16, levels), decoder)
