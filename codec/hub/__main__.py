"""Command line: `python -m codec.hub import SOURCE OUT`, `export`, `export-onnx` and `pack CHECKPOINT OUT`."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from codec.checkpoints.reading import load_codec
from codec.errors import InvalidValue
from codec.hub.exporting import export_codec
from codec.hub.importing import import_codec
from codec.hub.onnx import PRECISIONS, export_onnx, export_program
from codec.hub.onnx.folders import DESCRIPTION
from codec.hub.packing import pack_codec, pack_pieces


def main(arguments: list[str] | None = None) -> None:
    """Run one of the commands; a mistake ends it with status 2 and one sentence."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "pack" and options.pieces and options.full:
        parser.error("--pieces are of half precision: leave --full out, or write one file")
    try:
        print(_run(options))
    except (ValueError, OSError, SafetensorError, RuntimeError) as error:
        print(f"{parser.prog} {options.command}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print(f"{parser.prog} {options.command}: interrupted: run it again.", file=sys.stderr)
        sys.exit(130)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m codec.hub", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    reading = commands.add_parser("import", help="a published NeuCodec or X-Codec 2 into a file of this project")
    reading.add_argument("source", help="transformers folder, hub id, or the original pytorch_model.bin")
    reading.add_argument("out", help=".safetensors or .ckpt file to write")
    reading.add_argument("--semantic", default="facebook/w2v-bert-2.0", help="w2v-BERT 2.0, where the source lacks it")
    writing = commands.add_parser("export", help="a codec of this project into a transformers folder")
    writing.add_argument("checkpoint", help=".ckpt or .safetensors file")
    writing.add_argument("out", help="folder to write")
    packing = commands.add_parser("pack", help="a run's codec into a small .safetensors file of weights alone")
    packing.add_argument("checkpoint", help=".ckpt or .safetensors file")
    packing.add_argument("out", help=".safetensors file to write, or a folder with --pieces")
    packing.add_argument("--pieces", action="store_true", help="discriminators too, in files of at most 16 MiB")
    packing.add_argument("--discriminators", action="store_true", help="the run's too, in the same file, for init_from")
    packing.add_argument("--full", action="store_true", help="float32 instead of half precision")
    files = commands.add_parser("export-onnx", help="a codec of this project into ONNX files, for other runtimes")
    files.add_argument("checkpoint", help=".ckpt or .safetensors file, or the name of a pretrained codec")
    files.add_argument("out", help="folder to write")
    files.add_argument("--precision", choices=PRECISIONS, default="float32", help="of the weights (default: float32)")
    files.add_argument("--parts", action="store_true", help="encoder, quantizer and decoder in files of their own too")
    files.add_argument("--torch-export", action="store_true", help="programs of torch.export in place of ONNX files")
    return parser


def _run(options: argparse.Namespace) -> str:
    """Do what the command says, and say what has been done."""
    if options.command == "import":
        import_codec(options.source, options.out, semantic=options.semantic)
        return f"{options.source} is now {options.out}: load it with codec.load_codec, or as init_from."
    if options.command == "export-onnx":
        return _export_files(options)
    if options.command == "pack" and options.pieces:
        size = pack_pieces(options.checkpoint, options.out)
        return (
            f"{options.checkpoint} is now in {Path(options.out)}/, {size / 1e6:.1f} MB: go on from it with init_from."
        )
    if options.command == "pack":
        size = pack_codec(options.checkpoint, options.out, full=options.full, discriminators=options.discriminators)
        return f"{options.checkpoint} is now {options.out}, {size / 1e6:.1f} MB: load it with codec.load_codec."
    name = export_codec(options.checkpoint, options.out)
    return f"{options.checkpoint} is now a {name} in {options.out}: open it with AutoModel.from_pretrained."


def _export_files(options: argparse.Namespace) -> str:
    codec = load_codec(options.checkpoint)
    if options.torch_export:
        if options.precision != "float32":
            raise InvalidValue("--precision", options.precision, "is of ONNX files", "leave it or --torch-export out")
        written = export_program(codec, options.out, parts=options.parts)
        size, remedy = sum(path.stat().st_size for path in written.values()), "torch.export.load"
    else:
        files = export_onnx(codec, options.out, precision=options.precision, parts=options.parts)
        size, remedy = files.size, "onnxruntime.InferenceSession"
    description = json.loads((Path(options.out) / DESCRIPTION).read_text(encoding="utf-8"))
    calls = [f"  {name}: {_call(signature)}" for name, signature in description["signatures"].items()]
    done = f"{options.checkpoint} is now in {Path(options.out)}/, {size / 1e6:.1f} MB: open its files with {remedy}."
    return "\n".join([done, *calls])


def _call(signature: dict[str, dict[str, dict[str, Any]]]) -> str:
    """A file's inputs and output in a line: "audio float32 [B, 1, T] -> codes int64 [B, 2, ceil(T / 320)]"."""
    sides = [
        ", ".join(f"{name} {value['type']} [{', '.join(map(str, value['shape']))}]" for name, value in side.items())
        for side in (signature["inputs"], signature["outputs"])
    ]
    return " -> ".join(sides)


if __name__ == "__main__":
    main()
