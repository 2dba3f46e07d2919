"""Builds codecs from configurations that come out of files, which may name parts of a codec and nothing else."""

import importlib
import os
import sys
from typing import Any

from codec.codec import NeuralCodec
from codec.decoders.base import Backbone, Decoder
from codec.encoders.base import Encoder
from codec.quantizers.base import Quantizer
from codec.quantizers.codebooks import Codebook
from codec.quantizers.fsq import Bound
from codec.quantizers.rounding import Rounding

KINDS = (NeuralCodec, Encoder, Quantizer, Decoder, Backbone, Codebook, Bound, Rounding)
TRUSTED = "CODEC_PARTS"  # environment variable: modules of parts of one's own, separated by commas
FETCHING = "codec.hub.transformers_codec"  # whose codec reads files and hubs that a configuration names


def build_codec(config: Any) -> NeuralCodec:
    """Build a codec from its block of configuration: `class_path` and `init_args` of each part.

    A file from anywhere cannot run code by it: only classes of codec parts are built, of modules that are imported
    already (this package, parts that the command line has named) or that the environment variable CODEC_PARTS names.

    Raises:
        ValueError: the block is none, or names anything else.
    """
    codec = _build(config)
    if not isinstance(codec, NeuralCodec):
        raise ValueError(f"{type(codec).__name__} is not a codec: the block must be of a NeuralCodec.")
    return codec


def _build(block: Any) -> Any:
    shown = str(block)[:80]
    if not isinstance(block, dict) or set(block) - {"class_path", "init_args"} or "class_path" not in block:
        raise ValueError(f"{shown!r} is not a block of class_path and init_args.")
    path, arguments = block["class_path"], block.get("init_args") or {}
    if not isinstance(path, str) or not isinstance(arguments, dict):
        raise ValueError(f"{shown!r} is not a block of class_path and init_args.")
    module, _, name = path.rpartition(".")
    if module in os.environ.get(TRUSTED, "").split(","):
        importlib.import_module(module)
    kind = getattr(sys.modules.get(module), name, None)
    if not (isinstance(kind, type) and issubclass(kind, KINDS)) or kind.__module__ == FETCHING:
        raise ValueError(
            f"{path[:80]!r} is no part of a codec that is imported here: if it is yours, import its module first, or "
            f"name that in the environment variable {TRUSTED}."
        )
    return kind(**{key: _value(value) for key, value in arguments.items()})


def _value(value: Any) -> Any:
    if isinstance(value, list):
        return [_value(item) for item in value]
    if isinstance(value, dict):
        return _build(value) if "class_path" in value else {key: _value(item) for key, item in value.items()}
    return value
