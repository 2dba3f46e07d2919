"""Decoders from latents to audio, the whole signal at once or in chunks."""

from codec.decoders.backbones import ConvNeXtBackbone, TransformerBackbone
from codec.decoders.base import Backbone, Decoder
from codec.decoders.conditioning import ChannelConditioning
from codec.decoders.streaming import DecodedStream, StreamingDecoder
from codec.decoders.vocos import VocosDecoder

__all__ = [
    "Backbone",
    "ChannelConditioning",
    "ConvNeXtBackbone",
    "DecodedStream",
    "Decoder",
    "StreamingDecoder",
    "TransformerBackbone",
    "VocosDecoder",
]
