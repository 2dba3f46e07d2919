"""Features of a frozen model for every clip of a corpus, in shards: `python -m data.features SOURCE OUT --model ...`.

The model is any class or function that can be imported, given by name: `data` knows none of them. OUT gets the files
that `data.prepare` writes, with a NumPy file for each clip; `data.FeatureShards` reads them.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from data.errors import DataError, check_number
from data.prepare.options import (
    add_corpus_options,
    add_engine_options,
    add_length_options,
    choose_engine,
    find_source,
    parse_bytes,
    report,
)
from data.prepare.packing import Packed, pack
from data.prepare.recipes.features import FeatureJob, first_line
from data.prepare.recipes.filters import Filters
from data.sources.base import AudioSource

DTYPES = ("float16", "float32", "int16", "uint16", "int32", "int64")


def extract(source: AudioSource, out: Path, job: FeatureJob, **options: Any) -> Packed:
    """Write the features of all clips of `source` into shards in `out`; `options` are those of `pack`."""
    threads = torch.get_num_threads()
    try:
        return pack(source, out, recipe=job, **options)
    finally:
        torch.set_num_threads(threads)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status, as that of `data.prepare`."""
    options = _parser().parse_args(arguments)

    def run() -> Packed:
        return extract(
            find_source(options.source, options.split),
            options.out,
            _job(options),
            shard_bytes=parse_bytes(options.shard_size),
            engine=choose_engine(options, gpus=float(options.device == "cuda")),
            progress=True,
        )

    return report(run, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.features", description="Store features of audio files.")
    add_corpus_options(parser)
    parser.add_argument("--model", required=True, help="import path of a class or function, or a .yaml with class_path")
    parser.add_argument("--init", action="append", default=[], metavar="NAME=VALUE", help="an argument of the model")
    parser.add_argument("--call", metavar="METHOD", help="the method that computes the features, such as encode")
    parser.add_argument("--sample-rate", type=int, default=16_000, help="of the model in Hz (default: %(default)s)")
    parser.add_argument("--dtype", choices=DTYPES, help="of the stored arrays (default: the model's)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of the model (default: %(default)s)")
    add_length_options(parser)
    add_engine_options(parser)
    return parser


def _job(options: argparse.Namespace) -> FeatureJob:
    init: dict[str, Any] = {}
    model = options.model
    if model.endswith((".yaml", ".yml")):
        model, init = _read_block(Path(model))
    for text in options.init:
        name, equals, value = text.partition("=")
        if not equals:
            raise DataError("--init", repr(text), "is not NAME=VALUE", "write such as layers=16")
        init[name] = yaml.safe_load(value)
    check_number("--sample-rate", options.sample_rate, least=1, unit=" Hz")
    filters = Filters(options.min_seconds, options.max_seconds)
    filters.check()
    names = ("call", "sample_rate", "dtype", "device")
    job = FeatureJob(model, init, filters=filters, **{name: getattr(options, name) for name in names})
    if options.engine == "local":
        job.load()  # a mistake is found before the corpus is listed
    return job


def _read_block(path: Path) -> tuple[str, dict[str, Any]]:
    """(class path, arguments) in a YAML file."""
    try:
        block = yaml.safe_load(path.read_text(encoding="utf-8"))
        return block["class_path"], dict(block.get("init_args") or {})
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        problem = f"is not a block of class_path and init_args ({type(error).__name__}: {first_line(error)})"
        raise DataError("--model", path, problem, "correct it") from error


if __name__ == "__main__":
    sys.exit(main())
