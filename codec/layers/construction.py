"""Parts of a codec remember the arguments they were constructed with, so that a file can state how to build them."""

import inspect
import sys
from pathlib import PurePath
from typing import Any, TypeVar

import numpy as np
from torch import nn

from codec.errors import InvalidValue

Part = TypeVar("Part", bound="Constructed")

PACKAGE = "codec"
UNSTATED = ("pretrained", "cache")  # arguments that name files or folders: a checkpoint has the weights


class Constructed:
    """Base of the parts whose construction a checkpoint states (`construction`).

    A subclass of yours has nothing to do, as long as it is defined at the top level of a module and its constructor
    takes plain values (None, bool, int, float, str, and lists or dictionaries of them) and other parts. A part is
    stated as it is now where the object keeps it under the argument's name: `self.backbone = backbone`.
    """

    def __new__(cls: type[Part], *args: Any, **kwargs: Any) -> Part:
        part: Part = super().__new__(cls)
        part.__dict__["_arguments"] = cls, _copied(args), _copied(kwargs)
        return part


def construction(part: Constructed) -> dict[str, Any]:
    """How to build a part: its `class_path` and `init_args`, nested, as a block of YAML.

    Raises:
        InvalidValue: its class is in no module's top level, or an argument is neither plain nor a part.
    """
    # PyTorch gives sharded and parametrised modules classes of its own, made on the spot.
    kind, args, kwargs = part.__dict__.get("_arguments", (type(part), (), {}))
    path = class_path(kind)
    try:
        bound = inspect.signature(kind.__init__).bind(part, *args, **kwargs)
    except TypeError as error:  # built without its constructor
        raise InvalidValue(kind.__name__, allowed=f"was not built by its constructor ({error})") from error
    bound.apply_defaults()
    _, *parameters = bound.signature.parameters.values()
    children = part._modules if isinstance(part, nn.Module) else {}
    stated: dict[str, Any] = {}
    for parameter in parameters:
        value = bound.arguments[parameter.name]
        if parameter.kind is parameter.VAR_POSITIONAL:
            if value:
                raise InvalidValue(kind.__name__, allowed=f"takes *{parameter.name}", remedy="name its arguments")
            continue
        for name, item in value.items() if parameter.kind is parameter.VAR_KEYWORD else [(parameter.name, value)]:
            current = part.__dict__.get(name, children.get(name))
            stated[name] = None if name in UNSTATED else _block(current if _has_parts(current) else item, kind, name)
    return {"class_path": path, "init_args": stated}


def class_path(kind: type) -> str:
    """The path by which a file names a class; the short one where the package exports it.

    Raises:
        InvalidValue: it is defined in a function or another class.
    """
    if getattr(sys.modules.get(PACKAGE), kind.__name__, None) is kind:
        return f"{PACKAGE}.{kind.__name__}"
    if "." in kind.__qualname__:
        remedy = "define it at the top level of a module"
        raise InvalidValue(f"The class {kind.__qualname__}", allowed="is out of a file's reach", remedy=remedy)
    return f"{kind.__module__}.{kind.__qualname__}"


def _has_parts(value: Any) -> bool:
    if isinstance(value, (list, tuple, nn.ModuleList)):
        return len(value) > 0 and all(isinstance(item, Constructed) for item in value)
    return isinstance(value, Constructed)


def _block(value: Any, kind: type, name: str) -> Any:
    """A value as a file states it."""
    if isinstance(value, Constructed):
        return construction(value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.integer, np.floating, np.bool_)):
        return value.item()
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, (list, tuple, nn.ModuleList)):
        return [_block(item, kind, name) for item in value]
    if isinstance(value, dict) and all(isinstance(key, str) for key in value) and "class_path" not in value:
        return {key: _block(item, kind, name) for key, item in value.items()}
    raise InvalidValue(
        f"{name} of {kind.__name__}",
        f"is a {type(value).__name__},",
        "which a file cannot state",
        "take plain values and parts of a codec as arguments",
    )


def _copied(value: Any) -> Any:
    """Lists, tuples and dictionaries as copies, as the caller may change them later."""
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_copied(item) for item in value)
    return value
