"""`python -m codec {encode,decode,transmit,info,call}`: speech into codes, through a channel, and back; live calls."""

import sys
from collections.abc import Callable

from codec.cli.nearest_names import HelpfulParser
from codec.errors import UserError
from codec.transport.commands.call import call
from codec.transport.commands.decode import decode
from codec.transport.commands.encode import encode
from codec.transport.commands.info import info
from codec.transport.commands.transmit import transmit

COMMANDS: dict[str, Callable[..., int]] = {
    "encode": encode,
    "decode": decode,
    "transmit": transmit,
    "info": info,
    "call": call,
}


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what a user can mend is one sentence and exit status 2."""
    parser = HelpfulParser(prog="python -m codec", description=__doc__, allow_abbrev=False)
    commands = parser.add_subcommands(dest="command")
    for name, function in COMMANDS.items():
        lines = (function.__doc__ or "").splitlines()
        own = HelpfulParser(description=lines[0], allow_abbrev=False)
        own.add_function_arguments(function, as_positional=True, fail_untyped=True)
        commands.add_subcommand(name, own, help=lines[0])
    try:
        given = sys.argv[1:] if arguments is None else arguments
        build = getattr(parser, "instantiate", None) or parser.instantiate_classes  # the latter before 4.49
        options = build(parser.parse_args(_with_values(given)))
        status = COMMANDS[options.command](**vars(options[options.command]))
    except UserError as error:
        print(f"python -m codec: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    sys.exit(status)


def _with_values(arguments: list[str]) -> list[str]:
    """Flags such as `--crc` as `--crc=true`, which is what the parser takes."""
    flags = {"--crc", "--any_codec", "--as_json"} | ({"--raw"} if arguments[:1] == ["decode"] else set())
    valued = [*arguments[1:], ""]
    return [
        f"{each}=true" if each in flags and after not in ("true", "false") else each
        for each, after in zip(arguments, valued, strict=True)
    ]


if __name__ == "__main__":
    main()
