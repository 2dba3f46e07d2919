"""Checkpoints of NeuCodec and X-Codec 2 in and out of transformers' layout; codecs packed as weights alone."""

from codec.hub.exporting import export_codec
from codec.hub.importing import import_codec
from codec.hub.packing import pack_codec

__all__ = ["export_codec", "import_codec", "pack_codec"]
