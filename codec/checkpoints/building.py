"""Builds codecs from configurations inside files, which may name only classes of codec parts."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from codec.codec import NeuralCodec
from codec.decoders.base import Backbone, Decoder
from codec.decoders.conditioning import ChannelConditioning
from codec.encoders.base import Encoder
from codec.errors import InvalidValue, first_line
from codec.quantizers.base import Quantizer
from codec.quantizers.codebooks import Codebook
from codec.quantizers.fsq import Bound
from codec.quantizers.rounding import Rounding

Module = TypeVar("Module", bound=nn.Module)

KINDS = (NeuralCodec, Encoder, Quantizer, Decoder, Backbone, ChannelConditioning, Codebook, Bound, Rounding)
TRUSTED = "CODEC_PARTS"  # environment variable: modules that hold the user's own parts, separated by commas
PACKAGE = "codec"
MAIN = "__main__"  # the script or notebook that made a file; in another process, another one has this name
REGISTRATIONS = 4  # at most, of one parameter: weight norm registers two more in place of the weight


class ReadsFiles:
    """Marks a part whose arguments name files or a hub to read: a configuration out of a file never builds it."""


def build_codec(config: Any) -> NeuralCodec:
    """Build a codec from its block of configuration: `class_path` and `init_args` of each part.

    A file from elsewhere cannot run code through its configuration. Only classes of codec parts are built, and only
    from modules that are imported already (this package, modules that the command line has named) or that the
    environment variable CODEC_PARTS names. A class path of this package that has moved since the file was written
    means the class that the package exports under the same name.

    Raises:
        InvalidValue: the block is not a codec's, or names anything else.
    """
    codec = _build(config)
    if not isinstance(codec, NeuralCodec):
        raise InvalidValue(type(codec).__name__, None, "is not a codec", "give the block of a NeuralCodec")
    return codec


def _build(block: Any) -> Any:
    path, arguments = (block.get("class_path"), block.get("init_args") or {}) if isinstance(block, dict) else (None, {})
    if not isinstance(path, str) or not isinstance(arguments, dict) or set(block) - {"class_path", "init_args"}:
        raise InvalidValue(repr(str(block)[:80]), None, "is not a block of class_path and init_args")
    kind = _find_class(path)
    return kind(**{key: _build_value(value) for key, value in arguments.items()})


def _build_value(value: Any) -> Any:
    if isinstance(value, list):
        return [_build_value(item) for item in value]
    if isinstance(value, dict):
        return _build(value) if "class_path" in value else {key: _build_value(item) for key, item in value.items()}
    return value


def _find_class(path: str) -> type:
    """The class of a codec part that a path names, which must not read files."""
    module, _, name = path.rpartition(".")
    trusted = [each for each in os.environ.get(TRUSTED, "").split(",") if each]
    if module in trusted:
        importlib.import_module(module)
    found = getattr(sys.modules.get(module), name, None)
    if found is None and module == MAIN:  # the class may have moved from the script into a module
        found = next(filter(None, (getattr(importlib.import_module(each), name, None) for each in trusted)), None)
    package = sys.modules[PACKAGE]
    if found is None and module.split(".")[0] == PACKAGE and name in package.__all__:  # moved since it was written
        found = getattr(package, name)
    shown = repr(path[:80])
    if not (isinstance(found, type) and issubclass(found, KINDS)):
        raise InvalidValue(
            shown,
            None,
            "is no part of a codec that is imported here",
            _remedy(module, name),
        )
    if issubclass(found, ReadsFiles):
        raise InvalidValue(
            shown,
            None,
            "reads files or a hub, which the configuration inside a file must not ask for",
            "name it in a YAML file of your own, or build it in Python",
        )
    return found


def _remedy(module: str, name: str) -> str:
    """What to do about a class that is not there."""
    if module != MAIN:
        return f"if it is yours, import its module first, or name that in the environment variable {TRUSTED}"
    return (
        f"define {name[:80]} in this script or notebook before, or import it there from a module of yours, "
        f"which train.py finds in the environment variable {TRUSTED}"
    )


def check_fit(build: Callable[[], nn.Module], weights: Mapping[str, Tensor]) -> None:
    """Build a module without memory for its tensors and compare their names and shapes with `weights`.

    Raises:
        InvalidValue: the module cannot be built, or its weights have other names or shapes.
    """
    try:
        with _limit_parameters(REGISTRATIONS * len(weights)):
            expected = build_empty(build).state_dict()
    except InvalidValue as error:
        remedy = error.remedy or "give another file, or import the parts that it names"
        raise InvalidValue(f"no codec can be built: {error.problem}", remedy=remedy) from error
    except Exception as error:  # a constructor may raise anything for odd arguments
        problem = f"no codec can be built: {first_line(error, limit=300)}"
        raise InvalidValue(problem, remedy="give another file, or import the parts that it names") from error
    for name, value in expected.items():
        if name not in weights:
            raise InvalidValue(f"there is no {name}")
        if weights[name].shape != value.shape:
            found, wanted = list(weights[name].shape), list(value.shape)
            raise InvalidValue(name, None, f"is {found}, not {wanted}")
    further = sorted(str(name)[:100] for name in weights.keys() - expected.keys())
    if further:
        raise InvalidValue(further[0], None, "is not of this codec")


def build_empty(build: Callable[[], Module]) -> Module:
    """Build a module without memory for its tensors, or with memory where a constructor reads a tensor's values."""
    try:
        with torch.device("meta"), _RefuseReading():
            return build()
    except MetaTensorRead:
        return build()


class MetaTensorRead(RuntimeError):
    """A constructor reads a number out of a tensor that has no memory."""


class _RefuseReading(TorchDispatchMode):
    """Inside, reading a number of a tensor without memory (`item()`, `bool()`) raises `MetaTensorRead`."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default and args[0].is_meta:
            raise MetaTensorRead("a number of a tensor without memory was read")
        return func(*args, **(kwargs or {}))


@contextmanager
def _limit_parameters(registrations: int) -> Iterator[None]:
    """Inside, registering more parameters than `registrations` raises an InvalidValue."""
    left = registrations

    def count(module: nn.Module, name: str, parameter: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise InvalidValue("it has far more weights than the file")

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
