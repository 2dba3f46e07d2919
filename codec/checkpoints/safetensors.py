"""Codecs as safetensors files: weights, and the codec's configuration in the file's metadata."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights of a file and, where it states one, the codec's block of configuration, as in YAML.

    Raises:
        ValueError: the file is missing or damaged.
    """
    if not Path(path).is_file():
        raise ValueError(f"There is no file {path}: give the path of a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = json.loads((file.metadata() or {}).get("codec_config", "null"))
    except Exception as error:  # the reader's own kinds for damaged files
        raise ValueError(
            f"{path} is damaged or not a safetensors file ({str(error)[:200]}): fetch it again."
        ) from error
    return weights, config


def names_in(path: str | Path) -> list[str]:
    """Names of a file's tensors; none where it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            return list(file.keys())
    except Exception:  # the reader's own kinds; whoever reads the file says what is wrong with it
        return []


def write_safetensors(path: str | Path, weights: Mapping[str, Tensor], *, codec_config: Mapping[str, Any]) -> None:
    """Write weights and the codec's configuration; the file appears whole or not at all.

    Args:
        path: of the file.
        weights: named as in a module that has a `codec`.
        codec_config: the codec's block of configuration: `class_path` and `init_args`.
    """
    partial = Path(path).with_suffix(f".{os.getpid()}.partial")
    metadata = {"format": "pt", "codec_config": json.dumps(codec_config)}
    try:
        save_file({name: value.detach().cpu().contiguous() for name, value in weights.items()}, partial, metadata)
        partial.chmod(0o666 & ~current_umask())  # the library leaves a file that its owner alone can read
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def current_umask() -> int:
    """The permissions that this process withholds from new files; there is no way to read them but to set them."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
