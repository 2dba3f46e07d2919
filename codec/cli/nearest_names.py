"""Adds the nearest valid name to an error of the command line about an unknown one."""

import dataclasses
import difflib
import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from typing import NoReturn

from jsonargparse import ArgumentParser
from lightning.pytorch.cli import LightningArgumentParser

from codec.training.lightning_internals import option_names

RENAMED = {  # options of version 0.1, for the hint alone
    "discriminators": "adversary.discriminators",
    "adversarial_loss": "adversary.loss",
    "discriminator_optimizer": "adversary.optimizer",
    "discriminator_schedule": "adversary.schedule",
    "discriminator_start": "adversary.start",
    "discriminator_crop": "adversary.crop",
    "optimizer": "optimization.optimizer",
    "schedule": "optimization.schedule",
    "gradient_clip": "optimization.gradient_clip",
    "accumulate": "optimization.accumulate",
    "semantic": "losses",
    "weights": "losses",
}
PACKAGES = ["callbacks", "codec", "data", "lightning", "torch"]


class HelpfulParser(LightningArgumentParser):
    """Adds the nearest valid name to an error about an unknown option or class."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and exit with status 2."""
        super().error(message + nearest_names(message, self) if self.exit_on_error else message, ex)


def nearest_names(message: str, parser: ArgumentParser) -> str:
    """A sentence with the valid name nearest to each unknown one in an error message; empty where there is none."""
    sentences = []
    for owner, wrong in _unknown_names(message):
        valid = _valid_names(owner, parser)
        renamed = RENAMED.get(wrong)
        nearest = [renamed] if renamed in valid else difflib.get_close_matches(wrong, valid, n=1, cutoff=0.0)
        if nearest:
            sentences.append(f"\nDid you mean '{nearest[0]}' instead of '{wrong}'?")
    return "".join(dict.fromkeys(sentences))


def _unknown_names(message: str) -> list[tuple[str, str]]:
    """(owner, unknown name) of each complaint: a class or module path, or empty for the command's own options.

    jsonargparse raises one kind of error for all of them, so its text is the only place that has the names. Nothing
    but this hint depends on it.
    """
    inside = r"class_path '([\w.]+)':\s*"
    found = re.findall(inside + r"Option '([\w.]+)' is not accepted", message)
    found += re.findall(inside + r"unrecognized arguments: --([\w.]+)", message)
    found += [
        (c, f"{g}.{n}") for c, g, n in re.findall(inside + r"Group '(\w+)' does not accept option '(\w+)'", message)
    ]
    found += re.findall(r"module '([\w.]+)' has no attribute '(\w+)'", message)
    if not found:
        found += [("", name) for name in re.findall(r"(?:does not accept o|^O)ption '([\w.]+)'", message)]
        found += [("", name) for name in re.findall(r"unrecognized arguments: --([\w.]+)", message)]
    found += [("*", name) for name in re.findall(r"No module named '(\w+)'", message)]
    return [(o, n) if o.split(".")[0] in ["", "*", *PACKAGES] else ("*", o.split(".")[0]) for o, n in found]


def _valid_names(owner: str, parser: ArgumentParser) -> list[str]:
    if owner == "*":
        return PACKAGES
    if not owner:
        return list(option_names(parser))
    try:
        target = import_module(owner)
    except ImportError:
        module, _, name = owner.rpartition(".")
        return list(_arguments(getattr(import_module(module), name)))
    return [name for name in dir(target) if not name.startswith("_")]


def _arguments(part: type) -> Iterator[str]:
    """Names of a class's arguments; those of its groups (dataclasses) as `group.name`."""
    for name, parameter in inspect.signature(part).parameters.items():
        if dataclasses.is_dataclass(parameter.annotation):
            yield from (f"{name}.{field.name}" for field in dataclasses.fields(parameter.annotation))
        else:
            yield name
