"""Checks of arguments, each a `codec.errors.InvalidValue` where it fails.

That module is imported only then: it brings PyTorch, which scoring processes do without.
"""

from __future__ import annotations

from collections.abc import Sequence


def require(condition: bool, what: str, value: object = None, allowed: str = "", remedy: str = "") -> None:
    """Raise `InvalidValue(what, value, allowed, remedy)` unless the condition holds."""
    if not condition:
        from codec.errors import InvalidValue

        raise InvalidValue(what, value, allowed, remedy)


def require_at_least(least: int, **values: float | None) -> None:
    """Raise `InvalidValue` unless each value, given by the name of its argument, is `least` or more, or None."""
    for name, value in values.items():
        require(value is None or value >= least, name, value, f"must be at least {least}")


def require_unique(what: str, names: Sequence[str]) -> None:
    """Raise `InvalidValue` unless there is at least one name, and no name twice."""
    require(0 < len(set(names)) == len(names), what, list(names), "must be at least one, with unique names")
