"""Codecs from checkpoints: weights and the parts' configuration, read without running any code in the file."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from jsonargparse import ArgumentParser

from codec.checkpoints.building import build_codec
from codec.checkpoints.fitting import check_fit
from codec.checkpoints.safetensors import names_in, read_safetensors
from codec.codec import NeuralCodec

Part = TypeVar("Part")
PRETRAINED = Path(__file__).parent / "pretrained"


def pretrained() -> list[str]:
    """Names of the codecs that come with this project; a card beside each says what it is."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def located(path: str | Path) -> Path:
    """The file that a path means: itself, or a codec that comes along, by its bare name such as `small_fsq`."""
    return PRETRAINED / f"{path}.safetensors" if str(path) in pretrained() and not Path(path).is_file() else Path(path)


def damage(path: str | Path) -> str | None:
    """What is wrong with a checkpoint's bytes, None if nothing, by the CRC-32 that `torch.save` adds to each record.

    Files in the format of before PyTorch 1.6 have no checksums and pass.
    """
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"PK\3\4":
                return None
            with zipfile.ZipFile(file) as archive:
                broken = archive.testzip()
    except Exception as error:  # the reader raises many kinds for damaged files
        return str(error) or type(error).__name__
    return None if broken is None else f"the checksum of {broken} does not match"


def read_checkpoint(path: str | Path, *, check: bool = True) -> dict[str, Any]:
    """Read a checkpoint as plain tensors and values; with `check`, all of its bytes are checked first.

    Raises:
        ValueError: the file is missing, damaged, or holds anything but weights and plain values.
    """
    path = located(path)
    if path.suffix == ".safetensors":
        weights, config = read_safetensors(path)
        return {"state_dict": weights, "codec_config": config}
    if not path.is_file():
        raise ValueError(
            f"There is no checkpoint {path}: give the path of a .ckpt file that a run has written, or one of the names "
            f"{', '.join(pretrained())}."
        )
    reason = damage(path) if check else None
    if reason is not None:
        raise ValueError(
            f"Checkpoint {path} is damaged ({reason}): give one that a run has written, or an older one of the run."
        )
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the reader raises many kinds for damaged files, with advice that does not fit here
        if names_in(path):
            raise ValueError(f"{path} is a safetensors file: give it a name that ends in .safetensors.") from None
        raise ValueError(
            f"Checkpoint {path} is damaged or holds more than weights and plain values: give one that a run has "
            "written, or an older one of the run."
        ) from error
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise ValueError(f"Checkpoint {path} holds no state_dict: give a .ckpt file that a run has written.")
    return checkpoint


def load_codec(path: str | Path) -> NeuralCodec:
    """Build the codec that a run trained, in eval mode on the CPU; its EMA weights where the run kept them.

    Args:
        path: `.ckpt` of a run, `.safetensors` with a configuration, or a name out of `pretrained`, such as `small_fsq`.

    Raises:
        ValueError: see `read_checkpoint`; the checkpoint was written without `train.py` and has no configuration; or
            its weights do not fit that, or are not all finite, as safetensors files have no checksum.
    """
    checkpoint = read_checkpoint(path)
    config = codec_config(checkpoint)
    if config is None:
        raise ValueError(f"Checkpoint {path} holds no model_config: train with train.py, or build the codec in Python.")
    weights = _weights_of(checkpoint["state_dict"], "codec.")
    try:
        if sum(value.numel() * value.element_size() for value in weights.values()) > 4 * os.path.getsize(located(path)):
            raise ValueError("they are declared far larger than the file")
        check_fit(lambda: build_codec(config), weights)
    except ValueError as error:
        raise ValueError(f"The weights of {path} do not fit the codec that the file states: {error}.") from error
    broken = [name for name, value in weights.items() if not value.float().isfinite().all()]
    if broken:
        raise ValueError(
            f"{path} holds NaN or infinite numbers, in {broken[0]} and {len(broken) - 1} more of its {len(weights)} "
            "tensors: fetch it again, or give another checkpoint of the run."
        )
    codec = build_codec(config)
    codec.load_state_dict(weights)
    return codec.eval()


def _weights_of(state: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The dense tensors under a prefix, by the rest of their names."""
    items = state.items() if isinstance(state, dict) else ()
    tensors = {k: v for k, v in items if isinstance(v, torch.Tensor) and v.layout == torch.strided}
    return {k.removeprefix(prefix): v for k, v in tensors.items() if isinstance(k, str) and k.startswith(prefix)}


def codec_config(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """The codec's block of a checkpoint's configuration, as in YAML; None where the file has none.

    A module that puts its codec together itself states it under `codec_config`. Names of pre-trained weights are left
    out: the checkpoint has the weights.
    """
    config = checkpoint.get("codec_config")
    if config is None:
        stated: Any = checkpoint
        for key in ("model_config", "init_args", "codec"):
            stated = stated.get(key) if isinstance(stated, Mapping) else None
        config = stated
    try:
        return None if config is None else _without_pretrained(config)
    except RecursionError:
        raise ValueError("The file's configuration is nested too deep to be a codec's.") from None


def _without_pretrained(block: Any) -> Any:
    if isinstance(block, list):
        return [_without_pretrained(item) for item in block]
    if not isinstance(block, dict):
        return block
    left_out = ("pretrained", "cache")
    return {key: None if key in left_out else _without_pretrained(value) for key, value in block.items()}


def build(config: dict[str, Any], base: type[Part]) -> Part:
    """Build any part from its block of a YAML file of one's own, an instance of `base` or of a class below it.

    Such a block may name any class; what comes out of other people's files goes to `codec.checkpoints.building`.
    """
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "part")
    part = parser.instantiate_classes(parser.parse_object({"part": config})).part
    assert isinstance(part, base)
    return part
