"""`python -m codec {encode,decode,transmit,info,call}`: speech into codes, through a channel, and back; live calls."""

import signal
import sys
import threading
from collections.abc import Callable
from typing import Any

from codec.cli.nearest_names import HelpfulParser
from codec.errors import UserError
from codec.transport.commands.call import call
from codec.transport.commands.decode import decode
from codec.transport.commands.encode import encode
from codec.transport.commands.info import info
from codec.transport.commands.settings import instantiated
from codec.transport.commands.transmit import transmit

COMMANDS: dict[str, Callable[..., int]] = {
    "encode": encode,
    "decode": decode,
    "transmit": transmit,
    "info": info,
    "call": call,
}


def parse(arguments: list[str]) -> tuple[Callable[..., int], dict[str, Any]]:
    """The function of a command line and its options, channels and links built."""
    parser = HelpfulParser(prog="python -m codec", description=__doc__, allow_abbrev=False)
    commands = parser.add_subcommands(dest="command")
    for name, function in COMMANDS.items():
        lines = (function.__doc__ or "").splitlines()
        own = HelpfulParser(description=lines[0], allow_abbrev=False)
        own.add_function_arguments(function, as_positional=True, fail_untyped=True)
        commands.add_subcommand(name, own, help=lines[0])
    options = instantiated(parser, parser.parse_args(_with_values(arguments)))
    return COMMANDS[options.command], vars(options[options.command])


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what a user can mend is one sentence and exit status 2."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unfinished files are removed on the way out
    try:
        function, options = parse(sys.argv[1:] if arguments is None else arguments)
        status = function(**options)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
    except Exception as error:
        told = _of_the_user(error)
        if told is None:
            raise
        print(f"python -m codec: {told}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("\nInterrupted.")
    sys.exit(status)


def _of_the_user(error: BaseException | None) -> str | None:
    """What a user can mend: our own errors, also inside those of the parser, and full disks and the like; else None."""
    seen = error
    while seen is not None:
        if isinstance(seen, UserError):
            return str(seen)
        seen = seen.__cause__ or seen.__context__
    return f"{error.filename or 'output'}: {error.strerror}" if isinstance(error, OSError) and error.strerror else None


def _with_values(arguments: list[str]) -> list[str]:
    """Flags such as `--crc` as `--crc=true`, which is what the parser takes."""
    if not arguments:
        return []
    flags = {"--crc", "--any_codec", "--as_json"} | ({"--raw"} if arguments[:1] == ["decode"] else set())
    valued = [*arguments[1:], ""]
    return [
        f"{each}=true" if each in flags and after not in ("true", "false") else each
        for each, after in zip(arguments, valued, strict=True)
    ]


if __name__ == "__main__":
    main()
