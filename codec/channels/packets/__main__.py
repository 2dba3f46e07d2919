"""The command line `python -m codec.channels.packets`: statistics of a trace beside models fitted to it."""

import argparse
import sys
from collections.abc import Sequence

from codec.channels.packets.statistics import report
from codec.channels.packets.trace_files import read_trace
from codec.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit status: 2 for a mistake, with a sentence on stderr."""
    parser = argparse.ArgumentParser(
        prog="python -m codec.channels.packets",
        description="Print how a trace loses packets, beside loss models fitted to it, and their lines for YAML.",
    )
    parser.add_argument("file", help="a trace: 0 and 1 (lost), or a table of sequence numbers and delays")
    parser.add_argument("--buffer-seconds", type=float, help="also lose what a playout buffer of this length loses")
    parser.add_argument("--shortest-gap", type=int, help="fit three states by counting, with gaps of RFC 3611: 16")
    options = parser.parse_args(arguments)
    try:
        trace = read_trace(options.file)
        print(report(trace, buffer_seconds=options.buffer_seconds, shortest_gap=options.shortest_gap))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
