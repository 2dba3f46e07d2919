"""Codecs as safetensors files: weights, and the codec's configuration in the file's metadata."""

import importlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from codec.errors import MissingDependency, UnreadableFile, first_line


def import_safetensors() -> Any:
    """The safetensors library with its functions for PyTorch; imported where a file is read or written.

    Raises:
        MissingDependency: it is not installed.
    """
    try:
        importlib.import_module("safetensors.torch")
        return importlib.import_module("safetensors")
    except ImportError as error:
        raise MissingDependency(
            "A .safetensors file", allowed="needs the safetensors package", remedy="pip install safetensors"
        ) from error


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """Weights of a file and, where it states one, the codec's block of configuration, as in YAML.

    Raises:
        UnreadableFile: the file is missing or damaged.
        MissingDependency: safetensors is not installed.
    """
    library = import_safetensors()
    if not Path(path).is_file():
        raise UnreadableFile("There is no file", path, remedy="give the path of a .safetensors file")
    try:
        with library.safe_open(path, framework="pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            config = json.loads((file.metadata() or {}).get("codec_config", "null"))
    except Exception as error:  # the reader's own kinds for damaged files
        allowed = f"is damaged or not a safetensors file ({first_line(error)})"
        raise UnreadableFile(str(path), None, allowed, "fetch it again") from error
    return weights, config


def tensor_names(path: str | Path) -> list[str]:
    """Names of a file's tensors; an empty list if it cannot be read."""
    library = import_safetensors()
    try:
        with library.safe_open(path, framework="pt") as file:
            return list(file.keys())
    except Exception:  # the reader's own kinds; reading the whole file reports what is wrong
        return []


def write_safetensors(path: str | Path, weights: Mapping[str, Tensor], *, codec_config: Mapping[str, Any]) -> None:
    """Write weights and the codec's configuration; the file appears complete or not at all.

    Args:
        path: file to write.
        weights: named as in a module that has a `codec`.
        codec_config: the codec's block of configuration: `class_path` and `init_args`.

    Raises:
        MissingDependency: safetensors is not installed.
    """
    library = import_safetensors()
    partial = Path(path).with_suffix(f".{os.getpid()}.partial")
    metadata = {"format": "pt", "codec_config": json.dumps(codec_config)}
    try:
        stored = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
        library.torch.save_file(stored, partial, metadata)
        partial.chmod(0o666 & ~current_umask())  # the library writes a file that only its owner can read
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def current_umask() -> int:
    """This process's umask, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
