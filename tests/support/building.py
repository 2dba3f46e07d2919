"""Builds a part from its block of a YAML file that a test trusts."""

from typing import Any, TypeVar

from jsonargparse import ArgumentParser

Part = TypeVar("Part")


def build(config: dict[str, Any], base: type[Part]) -> Part:
    """An instance of `base` or of a class below it; the block may name any class."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(base, "part")
    part = parser.instantiate_classes(parser.parse_object({"part": config})).part
    assert isinstance(part, base)
    return part
