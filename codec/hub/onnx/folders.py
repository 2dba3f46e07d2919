"""The folder of an exported codec, and `codec.json`, which says what its files are."""

import errno
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from codec.codec import NeuralCodec
from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.hub.onnx.graphs import Graph

DESCRIPTION = "codec.json"
FORMAT_VERSION = 1
FULL = (errno.ENOSPC, errno.EDQUOT)
SIZES = {"batch": "B", "samples": "T", "frames": "F"}  # names of free axes, as in `[B, 1, T]`


@contextmanager
def whole_folder(out: str | Path) -> Iterator[Path]:
    """A folder to write to, inside `out`, whose files move to `out` once all are there; after an error nothing stays.

    Raises:
        InvalidValue: `out` is a file, or a folder that is not empty.
        UnreadableFile: what should be written cannot be, as on a full disk.
    """
    target = Path(out)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise InvalidValue("out", out, "is not an empty folder", "give a new one")
    made = [folder for folder in (target, *target.parents) if not folder.exists()]  # the innermost first
    partial = target / f".partial-{os.getpid()}"
    moved: list[Path] = []
    try:
        with writing(target):
            partial.mkdir(parents=True)
        yield partial
        with writing(target):
            for file in sorted(partial.iterdir()):
                moved.append(target / file.name)
                file.replace(moved[-1])
    except BaseException:  # Ctrl-C too
        for file in moved:
            file.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise
    partial.rmdir()


@contextmanager
def writing(out: str | Path) -> Iterator[None]:
    """Turn what a file system refuses into an UnreadableFile about the folder or file `out`."""
    try:
        yield
    except OSError as error:
        remedy = "free space on its disk, or give another folder" if error.errno in FULL else "give another folder"
        raise UnreadableFile(
            "folder", out, f"cannot be made or written ({error.strerror or first_line(error)})", remedy
        ) from error


def write_description(
    codec: NeuralCodec, folder: Path, files: Mapping[str, Path], graphs: Mapping[str, Graph], further: Mapping[str, Any]
) -> Path:
    """Write what a program needs to know of the codec, and names, inputs and outputs of its files.

    Args:
        codec: what the files are of.
        folder: where they are.
        files: by name.
        graphs: those of the same names.
        further: what else there is to say about the files.
    """
    content = {
        "version": FORMAT_VERSION,
        "sample_rate": codec.sample_rate,
        "output_sample_rate": codec.output_sample_rate,
        "hop_length": codec.hop_length,
        "output_hop_length": codec.decoder.hop_length,
        "frame_rate": codec.frame_rate,
        "latent_width": codec.quantizer.dim,
        "codebook_sizes": list(codec.quantizer.codebook_sizes),
        "bits_per_frame": codec.bits_per_frame,
        "bit_rate": codec.bit_rate,
        "parts": {
            "encoder": type(codec.encoder).__name__,
            "quantizer": type(codec.quantizer).__name__,
            "decoder": type(codec.decoder).__name__,
        },
        **further,
        "files": {name: path.name for name, path in files.items()},
        "signatures": {name: signature(graphs[name], codec) for name in files},
    }
    path = folder / DESCRIPTION
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def signature(graph: Graph, codec: NeuralCodec) -> dict[str, dict[str, dict[str, Any]]]:
    """Inputs and outputs of a graph by name, with type and shape: batch B, T samples or F frames."""
    stages, hop = len(codec.quantizer.codebook_sizes), codec.decoder.hop_length
    frames = f"ceil(T / {codec.hop_length})" if "audio" in graph.inputs else "F"
    outputs: dict[str, tuple[str, list[Any]]] = {
        "codes": ("int64", ["B", stages, frames]),
        "latents": ("float32", ["B", codec.quantizer.dim, frames]),
        "audio": ("float32", ["B", 1, f"F * {hop}"]),
    }
    inputs: dict[str, tuple[str, list[Any]]] = {}
    for name, value in graph.inputs.items():
        shape = [SIZES[axis] if (axis := graph.axes[name].get(place)) else n for place, n in enumerate(value.shape)]
        inputs[name] = str(value.dtype).removeprefix("torch."), shape
    described = {"inputs": inputs, "outputs": {graph.output: outputs[graph.output]}}
    return {
        kind: {name: {"type": dtype, "shape": shape} for name, (dtype, shape) in values.items()}
        for kind, values in described.items()
    }
