"""Writes weights alone in half precision: a codec as one safetensors file, a whole run as a folder of pieces."""

from pathlib import Path

import torch
from torch import Tensor

from codec.checkpoints.pieces import write_pieces
from codec.checkpoints.reading import check_finite, codec_config, load_codec, read_checkpoint
from codec.checkpoints.safetensors import write_safetensors
from codec.errors import InvalidValue


def pack_codec(checkpoint: str | Path, out: str | Path, *, full: bool = False, discriminators: bool = False) -> int:
    """Write a codec's weights (their average, where the run kept one) and its configuration, for `load_codec`.

    The quantizer stays in float32, as its codebooks and projections determine the codes; so do tensors with values
    beyond float16's range.

    Args:
        checkpoint: `.ckpt` or `.safetensors`, anything that `load_codec` reads.
        out: `.safetensors` file, which must not exist.
        full: keep everything in float32.
        discriminators: write those of the run too, for training that goes on with `init_from`.

    Returns:
        Bytes written.

    Raises:
        UnreadableFile: the checkpoint cannot be read or states no codec, or a discriminator's weight is not finite.
        InvalidValue: `out` exists, has another suffix, or is in a folder that cannot be made; or the checkpoint has no
            discriminators where they are asked for.
    """
    if Path(out).suffix != ".safetensors" or Path(out).exists():
        raise InvalidValue("out", out, "must be a new file that ends in .safetensors")
    weights = {f"codec.{name}": value for name, value in load_codec(checkpoint).state_dict().items()}
    content = read_checkpoint(checkpoint, check=False)
    config = codec_config(content)
    assert config is not None  # load_codec has built it
    if discriminators:
        weights |= _discriminators(content["state_dict"], checkpoint)
    try:
        Path(out).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        allowed = f"cannot be made ({error.strerror})"
        raise InvalidValue("folder", Path(out).parent, allowed, "give another folder") from error
    packed = {name: value if full else to_half(name.removeprefix("codec."), value) for name, value in weights.items()}
    write_safetensors(out, packed, codec_config=config)
    return Path(out).stat().st_size


def pack_pieces(checkpoint: str | Path, out: str | Path, *, batch: int | None = None) -> int:
    """Write all weights of a run, discriminators and losses too, as files of at most 16 MiB, for `init_from`.

    Where the run averaged its codec's weights, the average stands for them: training goes on from it. Optimizer states
    are left out. The quantizer stays in float32.

    Args:
        checkpoint: `.ckpt` of a run.
        out: folder, made if missing; pieces in it are replaced.
        batch: batches of training behind the weights, in all runs; by default those of this run.

    Returns:
        Bytes of all files.

    Raises:
        UnreadableFile: the checkpoint cannot be read or states no codec.
        InvalidValue: `out` is a file, or one weight alone is larger than 16 MiB.
    """
    if Path(out).is_file():
        raise InvalidValue("out", out, "must be a folder, not a file")
    load_codec(checkpoint)  # refuses what does not fit or is not finite
    content = read_checkpoint(checkpoint, check=False)
    config = codec_config(content)
    assert config is not None  # load_codec has built it
    weights = {name: value for name, value in content["state_dict"].items() if isinstance(value, Tensor)}
    halves = {name: to_half(name.removeprefix("codec."), value) for name, value in weights.items()}
    done = content.get("global_step", 0) if batch is None else batch
    return sum(path.stat().st_size for path in write_pieces(out, halves, codec_config=config, batch=done))


def _discriminators(state: dict[str, Tensor], checkpoint: str | Path) -> dict[str, Tensor]:
    """The discriminators' weights of a run, all finite, in float32."""
    found = {name: value for name, value in state.items() if name.startswith("discriminators.")}
    if not found:
        raise InvalidValue("checkpoint", checkpoint, "has no discriminators", "leave out --discriminators")
    check_finite(found, checkpoint)
    return {name: value.float() if value.is_floating_point() else value for name, value in found.items()}


def to_half(name: str, value: Tensor) -> Tensor:
    """A codec's tensor in float16; as it is where it belongs to the quantizer or would overflow."""
    if name.startswith("quantizer.") or not value.is_floating_point():
        return value
    half = value.to(torch.float16)
    return half if torch.equal(half.isfinite(), value.isfinite()) else value
