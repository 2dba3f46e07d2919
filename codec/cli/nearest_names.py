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

from codec.cli.failing_parts import unloadable_part
from codec.cli.lightning_internals import option_names
from codec.cli.wrong_values import wrong_value
from codec.training.codec_module import CodecModule
from codec.training.distillation_module import DistillationModule

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
    "gain_db": "augmentation.gain_db",
    "noise": "augmentation.noise",
    "snr_db": "augmentation.snr_db",
    "noise_probability": "augmentation.noise_probability",
}
PACKAGES = ["callbacks", "codec", "data", "lightning", "torch"]


class HelpfulParser(LightningArgumentParser):
    """Adds the nearest valid name to an error about an unknown option or class."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Print the message and exit with status 2; of a class that does not load, the cause alone."""
        unloadable = unloadable_part(message) if self.exit_on_error else None
        if unloadable is not None:
            super().error(str(unloadable), ex)
        told = message
        if self.exit_on_error:
            nearest = nearest_names(message, self)
            told = wrong_value(message) or message.rstrip()
            told = wrong_class(message) or (told.rstrip(".") + "." + nearest if nearest else told)
        super().error(told, ex)


def wrong_class(message: str) -> str | None:
    """One sentence for a class that is not of the kind that an option takes; None for other messages."""
    other = ("is not accepted", "has no attribute", "No module named", "unrecognized arguments")
    if any(words in message for words in other):
        return None
    named = re.findall(r"Import path ([\w.]+) does not correspond to a subclass of (\w+)", message)
    named += re.findall(r"Expected '([\w.]+)' to be a subclass of <class '(?:\w+\.)*(\w+)'>", message)
    if not named:  # of an option given alone
        kinds = re.findall(r"Import path does not correspond to a subclass of (\w+)", message)
        value = re.search(r"Given value: ([\w.]+)\s*$", message)
        named = [(value[1], kind) for kind in kinds] if value else []
    if not named or len({name for name, _ in named}) > 1:
        return None
    keys = re.findall(r'Parser key "([\w.]+)"', message)
    kinds = list(dict.fromkeys(kind for _, kind in named))
    return f"{'.'.join(keys)} {named[0][0]} is not accepted: it takes a class of the kind {' or '.join(kinds)}."


def nearest_names(message: str, parser: ArgumentParser) -> str:
    """A sentence with the valid name nearest to each unknown one in an error message; empty where there is none."""
    sentences = []
    for owner, wrong in _unknown_names(message):
        valid = _valid_names(owner, parser)
        nearest = (
            _renamed(wrong, valid)
            or _of_the_model(owner, wrong)
            or difflib.get_close_matches(wrong, valid, n=1, cutoff=0.5 if owner == "*" else 0.0)
        )
        if nearest and nearest[0] != wrong:
            sentences.append(f" Did you mean '{nearest[0]}' instead of '{wrong}'?")
    return "".join(dict.fromkeys(sentences))


def _renamed(wrong: str, valid: list[str]) -> list[str]:
    """What an option of version 0.1 is called now; what follows it, such as `init_args.lr`, is left out."""
    words = wrong.split(".")
    for i, word in enumerate(words):
        name = ".".join([*words[:i], RENAMED[word]]) if word in RENAMED else None
        if name in valid:
            return [name]
    return []


def _of_the_model(owner: str, wrong: str) -> list[str]:
    """The whole name of a model's option that was typed as `adversary.start` or `compiled`."""
    if owner:
        return []
    known = {name for part in (CodecModule, DistillationModule) for name in _arguments(part)}
    known |= {name.partition(".")[0] for name in known}
    first, *others = wrong.split(".")
    words = [*RENAMED.get(first, first).split("."), *others]
    found = any(".".join(words[: length + 1]) in known for length in range(len(words)))
    return [f"model.init_args.{'.'.join(words)}"] if found else []


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
