"""Writes a codec as ONNX files with dynamic batch and length, in one of three precisions of its weights."""

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch

from codec.codec import NeuralCodec
from codec.errors import InvalidValue, MissingDependency, first_line
from codec.hub.onnx.folders import whole_folder, write_description, writing
from codec.hub.onnx.graphs import Graph, part_graphs, whole_graphs
from codec.hub.onnx.precision import with_precision
from codec.hub.onnx.programs import quiet

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
OPSET = 20  # the first with Gelu; onnxruntime 1.17 and later read it, those of opset 23 (its Attention) fewer
PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class OnnxFiles(NamedTuple):
    """What `export_onnx` has written.

    Attributes:
        encode: audio to codes.
        decode: codes and erasures to audio.
        config: `codec.json`, what the files are.
        parts: `encoder`, `quantizer`, `dequantizer` and `decoder` by name; empty unless asked for.
    """

    encode: Path
    decode: Path
    config: Path
    parts: dict[str, Path]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in (self.encode, self.decode, self.config, *self.parts.values()))


def export_onnx(
    codec: NeuralCodec, out: str | Path, *, precision: Precision = "float32", parts: bool = False
) -> OnnxFiles:
    """Write `encode.onnx`, `decode.onnx` and `codec.json`; batch and length are free.

    `encode` takes `audio`, float32 `[B, 1, T]` with any T ≥ 1, and gives `codes`, int64 `[B, K, ⌈T / hop⌉]`. `decode`
    takes `codes` and `erased`, bool `[B, K, F]`, True where a code was lost, and gives `audio`, float32
    `[B, 1, F * hop]`. Inputs and outputs are the same in every precision. The files check nothing: codes must lie in
    their codebooks, and audio in [−1, 1].

    Args:
        codec: any whose parts have a form for export; it stays as it is.
        out: folder, made if missing.
        precision: of the weights. float16 halves the file and computes in float32; int8 also computes matrix products
            in integers. Spectra and the quantizer stay in float32.
        parts: also `encoder.onnx` (audio to `latents` `[B, D, F]`), `quantizer.onnx` (latents to codes),
            `dequantizer.onnx` (codes and erasures to latents) and `decoder.onnx` (latents to audio).

    Raises:
        InvalidValue: a part that has no form for export or is not converted, another precision, or `out` is not an
            empty folder.
        UnreadableFile: the files cannot be written, as on a full disk; none stays.
        MissingDependency: onnx, onnxscript or onnxruntime is not installed.
    """
    if precision not in PRECISIONS:
        raise InvalidValue("precision", precision, f"must be one of {', '.join(PRECISIONS)}")
    require_onnx()
    graphs = whole_graphs(codec) | (part_graphs(codec) if parts else {})
    versions = {name: importlib.import_module(name).__version__ for name in ("torch", "onnx")}
    further = {"format": "onnx", "opset": OPSET, "precision": precision, "versions": versions}
    files = {name: Path(out) / f"{name}.onnx" for name in graphs}
    with whole_folder(out) as folder:
        for name, graph in graphs.items():
            model = converted(graph, name, precision=precision)
            with writing(out):
                (folder / files[name].name).write_bytes(model)
        with writing(out):
            config = write_description(codec, folder, files, graphs, further)
    return OnnxFiles(files.pop("encode"), files.pop("decode"), Path(out) / config.name, files)


def converted(graph: Graph, name: str, *, precision: Precision) -> bytes:
    """The file of one graph, its weights inside."""
    with torch.no_grad(), quiet(), fewer_logs():
        try:
            program = torch.onnx.export(
                graph.module,
                tuple(graph.inputs.values()),
                dynamo=True,
                dynamic_shapes=tuple(graph.axes.values()),
                input_names=list(graph.inputs),
                output_names=[graph.output],
                opset_version=OPSET,
                external_data=False,
                verbose=False,
            )
        except torch.onnx.OnnxExporterError as error:
            allowed = f"cannot be converted with the installed onnxscript ({first_line(error)})"
            raise InvalidValue(name, None, allowed, "pip install --upgrade onnxscript") from error
        assert program is not None
        return bytes(with_precision(program.model_proto, precision).SerializeToString())


def require_onnx() -> None:
    """Raise MissingDependency where a package for the export is missing."""
    for name in PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise MissingDependency(
                "The export to ONNX", None, f"needs the package {name}", "pip install '.[onnx]'"
            ) from error


@contextmanager
def fewer_logs() -> Iterator[None]:
    """Without notes of the exporter on packages that it would also know, and of the quantization on other steps."""
    loggers = logging.getLogger("torch.onnx"), logging.getLogger()
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
