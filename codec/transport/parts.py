"""Parts of a link as text in a stream's header: class and arguments, of this package's own classes without files."""

import importlib
import json
from typing import Any

from codec.channels.coding.allocation import OptimizedProtection
from codec.channels.coding.base import ErrorCorrection
from codec.channels.index_maps import IndexMap
from codec.errors import InvalidValue, UnreadableFile, first_line
from codec.layers.construction import Constructed, construction

PACKAGE = "codec"
UNBUILT = (OptimizedProtection,)  # reads a file; its fitted code is stated instead
LARGEST = 2**16  # of a number in a header's text
LIMITS = {"iterations": 100, "list_size": 64, "times": 255, "rounds": 200, "seed": 2**32 - 1}  # where work grows


def part_text(part: Constructed) -> str:
    """JSON of a part's class and constructor arguments.

    Raises:
        InvalidValue: a header cannot state it, or what it states would not be built.
    """
    block = construction(part)
    kind = IndexMap if isinstance(part, IndexMap) else ErrorCorrection
    try:
        build_part(block, kind)
    except UnreadableFile as error:
        allowed = f"cannot be stated in a stream ({error.problem})"
        raise InvalidValue(type(part).__name__, None, allowed, "state it in the link of transmit and decode") from error
    return json.dumps(block, separators=(",", ":"), sort_keys=True)


def build_part(block: Any, kind: type[Any]) -> Any:
    """Build what `part_text` stated; only public classes of this package that are of a kind, with plain arguments.

    Raises:
        UnreadableFile: the block is nothing of that sort.
    """
    try:
        return _built(block, kind)
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        what = f"The {kind.__name__} that the stream's header states"
        raise UnreadableFile(what, None, f"cannot be built ({first_line(error)})", "encode it again") from error


def _built(block: Any, kind: type[Any]) -> Any:
    name = block["class_path"].removeprefix(f"{PACKAGE}.")
    found = getattr(importlib.import_module(PACKAGE), name, None)
    if not (isinstance(found, type) and issubclass(found, kind)) or issubclass(found, UNBUILT):
        raise ValueError(f"{name[:60]!r} is none of this package's")
    arguments = block.get("init_args", {})
    return found(**{key: _value(value, kind, LIMITS.get(key, LARGEST)) for key, value in arguments.items()})


def _value(value: Any, kind: type[Any], largest: int) -> Any:
    if isinstance(value, dict):
        return _built(value, kind)
    if isinstance(value, list):
        return [_value(item, kind, largest) for item in value]
    if isinstance(value, (int, float)) and not abs(value) <= largest:
        raise ValueError(f"{value} is out of range")
    return value


def read_json(text: str) -> Any:
    """A JSON text of a header.

    Raises:
        UnreadableFile: it is none.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UnreadableFile("The stream's header holds a text that is no JSON", remedy="encode it again") from error
