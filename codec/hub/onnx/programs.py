"""Codecs as programs of `torch.export`: they run without this project's code, in Python or compiled ahead of time."""

import importlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from codec.codec import NeuralCodec
from codec.hub.onnx.folders import whole_folder, write_description, writing
from codec.hub.onnx.graphs import Graph, part_graphs, whole_graphs


def export_program(codec: NeuralCodec, out: str | Path, *, parts: bool = False) -> dict[str, Path]:
    """Write `encode.pt2` and `decode.pt2`, for batches and lengths of any size, and `codec.json`.

    They take and return what the ONNX files do (`export_onnx`): audio `[B, 1, T]` to codes `[B, K, F]`, and codes with
    erasures to audio. `torch.export.load(path).module(check_guards=False)` gives the function. With PyTorch's guards it
    refuses clips of a single frame, which it computes as any other.

    Args:
        codec: any whose parts have a form for export; it stays as it is.
        out: folder, made if missing.
        parts: also `encoder.pt2`, `quantizer.pt2`, `dequantizer.pt2` and `decoder.pt2`.

    Returns:
        The files by their names without suffix.

    Raises:
        InvalidValue: a part that has no form for export, or `out` is not an empty folder.
        UnreadableFile: the files cannot be written, as on a full disk; none stays.
    """
    graphs = whole_graphs(codec) | (part_graphs(codec) if parts else {})
    files = {name: Path(out) / f"{name}.pt2" for name in graphs}
    with whole_folder(out) as folder:
        for name, graph in graphs.items():
            content = io.BytesIO()
            with torch.no_grad(), quiet():
                torch.export.save(traced(graph), content)
            with writing(out):
                (folder / files[name].name).write_bytes(content.getbuffer())
        with writing(out):
            write_description(codec, folder, files, graphs, {"format": "torch.export", "torch": torch.__version__})
    return files


def traced(graph: Graph) -> torch.export.ExportedProgram:
    """The program of a graph, its named axes of any length from 1 on."""
    axes = {name: dict.fromkeys(named, torch.export.Dim.DYNAMIC) for name, named in graph.axes.items()}
    # Else a program refuses a batch of one; the exporter to ONNX sets the same.
    shape_settings: Any = importlib.import_module("torch.fx.experimental._config")
    with shape_settings.patch(backed_size_oblivious=True):
        return torch.export.export(graph.module, tuple(graph.inputs.values()), dynamic_shapes=tuple(axes.values()))


@contextmanager
def quiet() -> Iterator[None]:
    """Without warnings that a user cannot act on: of PyTorch's own code, and of two axes that share their name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name: .* shares the same shape constraints")
        warnings.filterwarnings("ignore", message="`isinstance\\(treespec, LeafSpec\\)` is deprecated")
        yield
