"""Codecs from checkpoints: weights and the parts' configuration, read without running any code in the file."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_warn

from codec.checkpoints.building import build_codec, check_fit
from codec.checkpoints.files import read_file
from codec.checkpoints.pieces import pieces_size, read_pieces
from codec.checkpoints.safetensors import read_safetensors
from codec.codec import NeuralCodec
from codec.errors import InvalidValue, UnreadableFile

PRETRAINED = Path(__file__).parent / "pretrained"


def pretrained() -> list[str]:
    """Names of the pretrained codecs that are part of this package; the card next to each file describes it."""
    return sorted(path.stem for path in PRETRAINED.glob("*.safetensors"))


def resolve_checkpoint(path: str | Path) -> Path:
    """The file that a path means: itself, or a pretrained codec for its bare name, such as `small_fsq`.

    Raises:
        InvalidValue: it is no text and no path.
    """
    if not isinstance(path, (str, os.PathLike)) or not str(path):
        remedy = f"give a file, or one of the names {', '.join(pretrained())}"
        raise InvalidValue("checkpoint of type", type(path).__name__, "must be a path that is not empty", remedy)
    return PRETRAINED / f"{path}.safetensors" if str(path) in pretrained() and not Path(path).is_file() else Path(path)


def read_checkpoint(path: str | Path, *, check: bool = True, keep: bool = False) -> dict[str, Any]:
    """Read a checkpoint as plain tensors and values.

    Args:
        path: `.ckpt` or `.safetensors` file, a folder of pieces, or the name of a pretrained codec.
        check: compare the checksums of all of a `.ckpt` file's bytes first.
        keep: keep a checked `.ckpt` file's content until the trainer asks for it, which then reads nothing again.

    Raises:
        UnreadableFile: the file is missing, damaged, of a newer format, or holds more than weights and plain values.
    """
    path = resolve_checkpoint(path)
    if path.is_dir():
        return read_pieces(path)
    if path.suffix == ".safetensors":
        weights, config = read_safetensors(path)
        return {"state_dict": weights, "codec_config": config}
    if not path.is_file():
        names = ", ".join(pretrained())
        remedy = f"give the path of a .ckpt file that a run has written, or one of the names {names}"
        raise UnreadableFile("There is no checkpoint", path, remedy=remedy)
    return read_file(path, check=check, keep=keep)


def load_codec(path: str | Path) -> NeuralCodec:
    """Build the codec that a run trained, in eval mode on the CPU; its EMA weights where the run kept them.

    Args:
        path: `.ckpt` of a run, `.safetensors` or folder of pieces with a configuration, or a name out of
            `pretrained`, such as `small_fsq`.

    Raises:
        UnreadableFile: see `read_checkpoint`; the checkpoint was written without `train.py` and has no configuration;
            or its weights do not fit that, or are not all finite, as safetensors files have no checksum.
    """
    checkpoint = read_checkpoint(path)
    config = codec_config(checkpoint)
    if config is None:
        remedy = "train with train.py, or build the codec in Python"
        raise UnreadableFile("Checkpoint", path, "holds no model_config", remedy)
    weights = _weights_of(checkpoint["state_dict"], "codec.")
    size = sum(value.numel() * value.element_size() for value in weights.values())
    try:
        file = resolve_checkpoint(path)
        if size > 4 * (pieces_size(file) if file.is_dir() else os.path.getsize(file)):
            raise InvalidValue("they are declared far larger than the file")
        check_fit(lambda: build_codec(config), weights)
    except InvalidValue as error:
        allowed = f"do not fit the codec that the file states ({error.problem})"
        raise UnreadableFile("The weights of", path, allowed, error.remedy or "give another file") from error
    check_finite(weights, path)
    codec = build_codec(config)
    codec.load_state_dict(weights)
    return codec.eval()


def check_finite(weights: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """Raise UnreadableFile where some of a file's weights are NaN or infinite."""
    broken = [name for name, value in weights.items() if not value.float().isfinite().all()]
    if broken:
        others = f"{len(broken) - 1} more of its {len(weights)} tensors"
        raise UnreadableFile(
            str(path),
            None,
            f"holds NaN or infinite numbers, in {broken[0]} and {others}",
            "fetch it again, or give another checkpoint of the run",
        )


def _weights_of(state: Any, prefix: str) -> dict[str, torch.Tensor]:
    """The dense tensors under a prefix, by the rest of their names."""
    items = state.items() if isinstance(state, dict) else ()
    tensors = {k: v for k, v in items if isinstance(v, torch.Tensor) and v.layout == torch.strided}
    return {k.removeprefix(prefix): v for k, v in tensors.items() if isinstance(k, str) and k.startswith(prefix)}


def codec_config(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """The codec's block of a checkpoint's configuration, as in YAML; None where the file has none.

    A module that builds its codec itself states it under `codec_config`. Names of pretrained weights are left out: the
    checkpoint has the weights.

    Raises:
        UnreadableFile: the configuration is nested too deep.
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
        raise UnreadableFile("The file's configuration is nested too deep to be a codec's") from None


def _without_pretrained(block: Any) -> Any:
    if isinstance(block, list):
        return [_without_pretrained(item) for item in block]
    if not isinstance(block, dict):
        return block
    left_out = ("pretrained", "cache")
    return {key: None if key in left_out else _without_pretrained(value) for key, value in block.items()}


def newest_checkpoint(folder: Path, *, resumable: bool, keep: bool = False) -> Path | None:
    """The newest complete checkpoint of a folder, None if there is none, with a warning for each one passed over.

    Files called `last…` come first, the latest written of them before the others; then all others from the highest
    batch down, and by name where several are of one batch (`batch=2.ckpt` before `best.ckpt`, the same file).

    Args:
        folder: a run's checkpoints.
        resumable: pass over files that hold weights alone.
        keep: see `read_checkpoint`, for the one that is found.
    """
    found, refused = None, []
    for path in _newest_first(folder):
        try:
            checkpoint = read_checkpoint(path, keep=keep)
        except UnreadableFile as error:
            refused.append(error.problem)
            continue
        if resumable and "optimizer_states" not in checkpoint:
            refused.append(f"Checkpoint {path} holds weights alone")
            continue
        found = path
        break
    for problem in refused:
        rank_zero_warn(f"{problem}: passed over for {found.name if found else 'a fresh start'}.")
    return found


def _newest_first(folder: Path) -> Iterator[Path]:
    last = sorted(folder.glob("last*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    yield from last
    yield from sorted(set(folder.glob("*.ckpt")) - set(last), key=lambda path: (-_batch(path), path.name))


def _batch(path: Path) -> int:
    """The number of batches behind a checkpoint, -1 where it cannot be read."""
    try:
        return int(read_checkpoint(path, check=False).get("global_step", 0))
    except ValueError:
        return -1
