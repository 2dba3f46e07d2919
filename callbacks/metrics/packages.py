"""Optional packages and models of metrics: imported when a metric is made, named in one sentence where missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def imported(who: str, extra: str, *modules: str) -> list[Any]:
    """The modules of packages that `pip install '.[extra]'` brings, for `who`, a metric or a part of one.

    Raises:
        MissingDependency: one of them cannot be imported.
    """
    try:
        return [import_module(module) for module in modules]
    except ImportError as error:
        from codec.errors import MissingDependency, first_line  # brings PyTorch

        packages = [module.split(".")[0] for module in modules]
        needs = f"needs the package{'s' * (len(packages) > 1)} {' and '.join(packages)}"
        if not isinstance(error, ModuleNotFoundError):  # it is there, and broken
            needs += f", which cannot be imported ({first_line(error)})"
        raise MissingDependency(who, allowed=needs, remedy=f"pip install '.[{extra}]'") from error


def named_after(model: str) -> tuple[str, str]:
    """Name (letters, digits and underscores) and label of a part that reads `model`, a folder or a hub id."""
    short = model.rstrip("/").rpartition("/")[2]
    return "".join(c if c.isalnum() else "_" for c in short).lower(), short
