"""Weights as a folder of safetensors files of bounded size with an index, the layout that transformers uses."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor

from codec.checkpoints.safetensors import read_safetensors, write_safetensors
from codec.errors import InvalidValue, UnreadableFile

Key = TypeVar("Key")

INDEX = "model.safetensors.index.json"
LIMIT = 16 * 2**20  # bytes of a file
HEADER = 2**18  # bytes of a file set aside for names, shapes and metadata


def write_pieces(
    folder: str | Path,
    weights: Mapping[str, Tensor],
    *,
    codec_config: Mapping[str, Any],
    batch: int = 0,
    limit: int = LIMIT,
) -> list[Path]:
    """Write weights as files of at most `limit` bytes, and last the index; returns the paths of all.

    Args:
        folder: is made; pieces of before are replaced.
        weights: named as in a module that has a `codec`.
        codec_config: the codec's block of configuration, kept in the index and in each file.
        batch: batches of training behind the weights, in all runs.
        limit: bytes of a file.

    Raises:
        InvalidValue: one tensor alone is larger than a file may be, or there is no weight.
    """
    folder = Path(folder)
    groups = list(_groups(weights, limit - HEADER))
    if not groups:
        raise InvalidValue("weights", "{}", "must be at least one tensor")
    folder.mkdir(parents=True, exist_ok=True)
    for old in (folder / INDEX, *folder.glob("model-*.safetensors")):
        old.unlink(missing_ok=True)
    paths, places = [], {}
    for number, names in enumerate(groups, start=1):
        paths.append(folder / f"model-{number:05d}-of-{len(groups):05d}.safetensors")
        write_safetensors(paths[-1], {name: weights[name] for name in names}, codec_config=codec_config)
        places.update(dict.fromkeys(names, paths[-1].name))
    size = sum(value.numel() * value.element_size() for value in weights.values())
    metadata = {"total_size": size, "batch": batch, "codec_config": codec_config}
    partial = folder / f"{INDEX}.partial"
    partial.write_text(json.dumps({"metadata": metadata, "weight_map": places}, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / INDEX)
    return [*paths, folder / INDEX]


def read_pieces(folder: str | Path) -> dict[str, Any]:
    """What `write_pieces` wrote, as a checkpoint: `state_dict`, `codec_config` and `global_step`.

    Raises:
        UnreadableFile: there is no index, it cannot be read, a piece is missing or damaged, or lacks a weight.
    """
    folder = Path(folder)
    places, metadata = _read_index(folder / INDEX)
    weights: dict[str, Tensor] = {}
    again = "fetch the folder again"
    for file in sorted(set(places.values())):
        if not (folder / file).is_file():
            raise UnreadableFile("The folder", folder, f"lacks {file}, which its index names", again)
        weights |= read_safetensors(folder / file)[0]
    absent, further = sorted(places.keys() - weights.keys()), sorted(weights.keys() - places.keys())
    if absent or further:
        problem = f"has pieces without {absent[0]}" if absent else f"has {further[0]}, which its index does not name"
        raise UnreadableFile("The folder", folder, problem, again)
    return {"state_dict": weights, "codec_config": metadata.get("codec_config"), "global_step": metadata["batch"]}


def pieces_size(folder: str | Path) -> int:
    """Bytes of all pieces in a folder."""
    return sum(path.stat().st_size for path in Path(folder).glob("model-*.safetensors"))


def _groups(weights: Mapping[str, Tensor], limit: int) -> Iterator[list[str]]:
    """Names in their order, cut where the next tensor would pass the limit of bytes."""
    for name, value in weights.items():
        if value.nbytes > limit:
            raise InvalidValue(
                name, f"of {value.nbytes} bytes", f"must be at most {limit} bytes", "write one file instead"
            )
    return cut_by_bytes(weights, limit)


def cut_by_bytes(tensors: Mapping[Key, Tensor], limit: int) -> Iterator[list[Key]]:
    """Keys in their order, cut where the next tensor would pass the limit; a larger tensor is alone."""
    group: list[Key] = []
    filled = 0
    for key, value in tensors.items():
        if group and filled + value.nbytes > limit:
            yield group
            group, filled = [], 0
        group.append(key)
        filled += value.nbytes
    if group:
        yield group


def _read_index(path: Path) -> tuple[dict[str, str], dict[str, Any]]:
    """Places of the weights and metadata of an index, whose files are in its own folder."""
    if not path.is_file():
        remedy = "give a folder that `python -m codec.hub pack --pieces` has written"
        raise UnreadableFile("The folder", path.parent, f"has no {INDEX}", remedy)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        places, metadata = dict(content["weight_map"]), dict(content["metadata"])
        if not all(isinstance(file, str) and Path(file).name == file for file in places.values()):
            raise ValueError
        return places, {**metadata, "batch": int(metadata.get("batch", 0))}
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UnreadableFile(str(path), None, "is no index of pieces", "fetch it again") from None
