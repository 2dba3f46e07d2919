"""Writes the codec of a checkpoint as a safetensors file of its weights alone, in half precision."""

from pathlib import Path

import torch
from torch import Tensor

from codec.checkpoints.reading import codec_config, load_codec, read_checkpoint
from codec.checkpoints.safetensors import write_safetensors
from codec.errors import InvalidValue


def pack_codec(checkpoint: str | Path, out: str | Path, *, full: bool = False) -> int:
    """Write a codec's weights (their average, where the run kept one) and its configuration, for `load_codec`.

    The quantizer stays in float32, as its codebooks and projections determine the codes; so do tensors with values
    beyond float16's range.

    Args:
        checkpoint: `.ckpt` or `.safetensors`, anything that `load_codec` reads.
        out: `.safetensors` file, which must not exist.
        full: keep everything in float32.

    Returns:
        Bytes written.

    Raises:
        UnreadableFile: the checkpoint cannot be read or states no codec.
        InvalidValue: `out` exists, has another suffix, or is in a folder that cannot be made.
    """
    if Path(out).suffix != ".safetensors" or Path(out).exists():
        raise InvalidValue("out", out, "must be a new file that ends in .safetensors")
    weights = load_codec(checkpoint).state_dict()
    config = codec_config(read_checkpoint(checkpoint, check=False))
    assert config is not None  # load_codec has built it
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = f"cannot be made ({error.strerror})"
        raise InvalidValue("folder", Path(out).parent, allowed, "give another folder") from error
    packed = {f"codec.{name}": value if full else to_half(name, value) for name, value in weights.items()}
    write_safetensors(out, packed, codec_config=config)
    return Path(out).stat().st_size


def to_half(name: str, value: Tensor) -> Tensor:
    """A codec's tensor in float16; as it is where it belongs to the quantizer or would overflow."""
    if name.startswith("quantizer.") or not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    return half if torch.equal(half.isfinite(), value.isfinite()) else value
