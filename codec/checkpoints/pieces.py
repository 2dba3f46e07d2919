"""Weights as a folder of safetensors files of bounded size with an index, the layout that transformers uses."""

import json
import shutil
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
        folder: is made; pieces that an index of this project names there are replaced once the new ones are written.
        weights: named as in a module that has a `codec`.
        codec_config: the codec's block of configuration, kept in the index and in each file.
        batch: batches of training behind the weights, in all runs.
        limit: bytes of a file.

    Raises:
        InvalidValue: one tensor alone is larger than a file may be, there is no weight, or the folder holds other
            weights under these names.
    """
    folder = Path(folder)
    groups = list(_groups(weights, limit - HEADER))
    if not groups:
        raise InvalidValue("weights", "{}", "must be at least one tensor")
    files = [f"model-{number:05d}-of-{len(groups):05d}.safetensors" for number in range(1, len(groups) + 1)]
    old = _own_pieces(folder)
    foreign = [file for file in files if file not in old and (folder / file).exists()]
    if foreign:
        raise InvalidValue("The folder", folder, f"holds {foreign[0]}, which no index there names", "choose another")
    partial_folder = folder / ".partial"
    shutil.rmtree(partial_folder, ignore_errors=True)
    partial_folder.mkdir(parents=True)
    places = {}
    for file, names in zip(files, groups, strict=True):
        piece = {name: weights[name] for name in names}
        write_safetensors(partial_folder / file, piece, codec_config=codec_config)
        places.update(dict.fromkeys(names, file))
    for file in (INDEX, *old):
        (folder / file).unlink(missing_ok=True)
    for file in files:
        (partial_folder / file).replace(folder / file)
    partial_folder.rmdir()
    size = sum(value.numel() * value.element_size() for value in weights.values())
    metadata = {"total_size": size, "batch": batch, "codec_config": codec_config}
    partial = folder / f"{INDEX}.partial"
    partial.write_text(json.dumps({"metadata": metadata, "weight_map": places}, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / INDEX)
    return [folder / file for file in (*files, INDEX)]


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
    return sum((Path(folder) / file).stat().st_size for file in set(_read_index(Path(folder) / INDEX)[0].values()))


def _own_pieces(folder: Path) -> set[str]:
    """Files that this project's index in a folder names; none where there is no index."""
    if not (folder / INDEX).exists():
        return set()
    try:
        places, metadata = _read_index(folder / INDEX)
    except UnreadableFile:
        places, metadata = {}, {}
    if "codec_config" not in metadata:
        raise InvalidValue("The folder", folder, f"holds other weights ({INDEX})", "choose another")
    return set(places.values())


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
        batch = int(metadata.get("batch", 0))
        if batch < 0 or not all(file and Path(file).name == file for file in places.values()):
            raise ValueError
        return places, {**metadata, "batch": batch}
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError):
        raise UnreadableFile(str(path), None, "is no index of pieces", "fetch it again") from None
