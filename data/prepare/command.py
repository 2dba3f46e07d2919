"""The command line of `python -m data.prepare`."""

import argparse
import math
from collections.abc import Sequence

from data.audio.channels import MEAN, parse_channel
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
from data.prepare.recipes.filters import Filters
from data.prepare.recipes.recipe import FLAC, OPUS, OPUS_RATES, Recipe

ENCODINGS = {"as-is": None, "flac": FLAC, "opus": OPUS}
MIN_SEGMENT_SECONDS = 1.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2 for a mistake, 1 for a full disk, with a sentence on stderr."""
    options = _parser().parse_args(arguments)

    def run() -> Packed:
        return pack(
            find_source(options.source, options.split),
            options.out,
            recipe=_recipe(options),
            shard_bytes=parse_bytes(options.shard_size),
            engine=choose_engine(options),
            progress=True,
        )

    return report(run, options.out)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m data.prepare", description="Pack audio files into tar shards.")
    add_corpus_options(parser)
    parser.add_argument("--sample-rate", type=int, help="resample to this rate in Hz; needs --format flac or opus")
    parser.add_argument(
        "--format",
        choices=ENCODINGS,
        default="as-is",
        help="as-is copies the files (default); flac and opus are mono",
    )
    parser.add_argument(
        "--channel", default="mean", help="of several: mean (default), first, loudest, or a number from 0 on"
    )
    parser.add_argument(
        "--segment",
        type=float,
        metavar="SECONDS",
        help="cut longer recordings at quiet places into pieces of at most this length; needs --format flac or opus",
    )
    add_filter_options(parser)
    add_engine_options(parser)
    return parser


def add_filter_options(parser: argparse.ArgumentParser) -> None:
    """An argument for each field of `Filters`."""
    filters = parser.add_argument_group("filters", "what is left out is counted, and listed in filtered.tsv")
    add_length_options(filters)
    filters.add_argument("--min-loudness", type=float, metavar="LUFS", help="leave out what is quieter, such as -50")
    filters.add_argument("--max-loudness", type=float, metavar="LUFS", help="leave out what is louder, such as -10")
    filters.add_argument(
        "--max-clipping",
        type=float,
        metavar="SHARE",
        help="leave out what has more samples at full scale, such as 0.001",
    )


def _recipe(options: argparse.Namespace) -> Recipe:
    sample_rate, encoding = options.sample_rate, ENCODINGS[options.format]
    check_number("--sample-rate", sample_rate, least=1, unit=" Hz")
    if options.segment is not None and not MIN_SEGMENT_SECONDS <= options.segment < math.inf:
        raise DataError("--segment", options.segment, f"must be at least {MIN_SEGMENT_SECONDS:g} s")
    for name, value in (("--sample-rate", sample_rate), ("--segment", options.segment)):
        if encoding is None and value is not None:
            raise DataError(name, value, "cannot go with --format as-is, which copies", "use --format flac")
    if encoding is OPUS and sample_rate not in OPUS_RATES:
        rates = ", ".join(map(str, OPUS_RATES))
        raise DataError("--format opus", allowed="needs a --sample-rate of Opus", remedy=f"give one of {rates}")
    filters = Filters(**{name: getattr(options, name) for name in Filters._fields})
    filters.check()
    channel = parse_channel("--channel", options.channel)
    if encoding is None and channel != MEAN:
        raise DataError("--channel", channel, "cannot go with --format as-is, which copies", "use --format flac")
    return Recipe(encoding, sample_rate, options.segment, filters, channel)
