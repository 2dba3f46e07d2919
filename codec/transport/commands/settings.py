"""Channels and links of a transmission: by options, or by name out of an evaluation's configuration."""

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from codec.channels.base import Channel
from codec.channels.bit_errors import BinarySymmetricChannel
from codec.channels.link import Link
from codec.errors import InvalidValue, UnreadableFile, UserError, first_line


def _read(file: str, channel: str, system: str | None) -> tuple[Channel, Link | None]:
    """The channel of a name, such as "bsc-0.05", and the link, out of a configuration for evaluation.

    Args:
        file: YAML with a block `channels`, as in configs/evaluate/.
        channel: the channel's `name`; each `bit_error_rates` of the block is one, "bsc-RATE".
        system: of a comparison, the system whose link it is; None takes the link of `channels`, if there is one.

    Raises:
        UnreadableFile: no such file, or no YAML.
        InvalidValue: it has no such channel or system; the names that it has are listed.
    """
    try:
        whole = yaml.safe_load(Path(file).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UnreadableFile(file, None, f"cannot be read ({first_line(error)})", "give a YAML file") from error
    block = whole.get("channels") if isinstance(whole, dict) else None
    if not isinstance(block, dict):
        raise InvalidValue(file, None, "has no block `channels`", "give a configuration of configs/evaluate/")
    channels: list[Channel] = [BinarySymmetricChannel(rate) for rate in block.get("bit_error_rates") or ()]
    channels += [_built(Channel, each, file) for each in block.get("channels") or ()]
    by_name = {each.name: each for each in channels}
    if channel not in by_name:
        raise InvalidValue("channel", channel, f"is not in {file}, which has {', '.join(by_name) or 'none'}")
    link = block.get("link")
    if system is not None:
        arguments = (whole.get("model") or {}).get("init_args") or {}
        systems = {each.get("name"): each.get("link") for each in arguments.get("systems") or ()}
        if system not in systems:
            raise InvalidValue("system", system, f"is not in {file}, which has {', '.join(systems) or 'none'}")
        link = systems[system]
    return by_name[channel], None if link is None else _built(Link, link, file)


def read_setting(file: str, channel: str, system: str | None) -> tuple[Channel, Link | None]:
    """`_read`, where a block of another form is one sentence."""
    try:
        return _read(file, channel, system)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        allowed = f"has channels or systems of another form ({first_line(error)})"
        raise InvalidValue(file, None, allowed, "give a configuration of configs/evaluate/") from error


def instantiated(parser: ArgumentParser, options: Namespace) -> Any:
    """Options with their channels and links built; jsonargparse renamed the method in 4.49."""
    build = getattr(parser, "instantiate", None) or parser.instantiate_classes
    return build(options)


def _built(kind: type, block: Any, file: str) -> Any:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--part", type=kind)
    try:
        return instantiated(parser, parser.parse_object({"part": block})).part
    except ArgumentError as error:
        raise InvalidValue(
            f"A {kind.__name__} of {file}", None, f"cannot be built ({_last_line(error)})", "correct it"
        ) from error


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:200].rstrip(".") if lines else type(error).__name__
