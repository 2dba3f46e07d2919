"""Checkpoints of NeuCodec and X-Codec 2, in from transformers' and the original layout, out to transformers'."""

from codec.hub.exporting import export_codec
from codec.hub.importing import import_codec

__all__ = ["export_codec", "import_codec"]
