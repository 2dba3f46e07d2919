"""How a quoted figure is written: with an interval, as a percentage, to a number of decimals."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from callbacks.report.results.markdown import percent
from codec.errors import InvalidValue


class Figure(NamedTuple):
    """A value; bounds of its interval, None where it has none; how many of how many draws could not be scored."""

    value: float
    low: float | None = None
    high: float | None = None
    unscored: int = 0
    of: int = 0
    signed: bool = False


class Form(NamedTuple):
    """How a figure is written.

    Attributes:
        interval: "" without; "±" with half of it, "[]" with its bounds.
        percent: a share as percentage.
        digits: decimals; None is three, for a share three digits in all, for a count none.
    """

    interval: str = ""
    percent: bool = False
    digits: int | None = None

    def write(self, figure: Figure) -> str:
        """The figure as text, with a true minus; a dash for no value. Draws without a score are stated.

        Raises:
            InvalidValue: an interval is asked for and there is none.
        """
        low, high = figure.low, figure.high
        if self.interval and (low is None or high is None):
            raise InvalidValue(f"the form {self.interval}", allowed="needs an interval, which this value lacks")
        if not math.isfinite(figure.value):
            return "–"
        further = [f"{figure.unscored} of {figure.of} unscored"] if figure.unscored else []
        text = self._number(figure.value, figure.signed)
        if low is not None and high is not None and self.interval == "±":
            text += f" ± {self._number((high - low) / 2, False)}"
        elif low is not None and high is not None and self.interval:
            further.insert(0, f"{self._number(low, figure.signed)}, {self._number(high, figure.signed)}")
        before, after = ("[", "]") if self.interval == "[]" else ("(", ")")
        return text + (f" {before}{', '.join(further)}{after}" if further else "")

    def _number(self, value: float, signed: bool) -> str:
        if not math.isfinite(value):
            return "–"
        if self.percent and self.digits is None:
            return percent(value)
        if isinstance(value, int) and self == Form():
            return f"{value:,}"
        digits = 3 if self.digits is None else self.digits
        text = f"{100 * value if self.percent else value:{'+' if signed else ''}.{digits}f}".replace("-", "−")
        return f"{text} %" if self.percent else text


def split_form(words: Sequence[str]) -> tuple[list[str], Form]:
    """The names in front of the forms at the end, and how the forms say to write the figure."""
    names, form = list(words), Form()
    while names and re.fullmatch(r"±|\[\]|%|\.\d", names[-1]):
        word = names.pop()
        if word in ("±", "[]"):
            form = form._replace(interval=word)
        else:
            form = form._replace(percent=True) if word == "%" else form._replace(digits=int(word[1:]))
    return names, form
