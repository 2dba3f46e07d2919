"""Mistakes in data that a user can correct: exceptions with fields, printed as one sentence."""

import os
from pathlib import Path


class DataError(ValueError):
    """What is wrong, with which value, what is allowed instead, and what to do.

    The command line prints the sentence and ends with status 2; code that handles the error looks at its class and
    fields, never at its text. The sentence is "`what` `value` `allowed`: `remedy`.", parts that are empty left out:
    `DataError("batch_size", 0, "must be at least 1")` reads "batch_size 0 must be at least 1."

    Attributes:
        what: the thing that is wrong, such as an option's name or "the folder".
        value: its value; None where the sentence needs none.
        allowed: what it has to be, with its verb ("must be at least 1").
        remedy: what to do, in the imperative.
    """

    def __init__(self, what: str, value: object = None, allowed: str = "", remedy: str = "") -> None:
        super().__init__(what, value, allowed, remedy)
        self.what, self.value, self.allowed, self.remedy = what, value, allowed, remedy

    @property
    def problem(self) -> str:
        """The sentence without remedy and full stop."""
        parts = [self.what, "" if self.value is None else str(self.value), self.allowed]
        return " ".join(part for part in parts if part)

    def __str__(self) -> str:
        text = f"{self.problem}: {self.remedy}" if self.remedy else self.problem
        return text if text.endswith("?") else f"{text}."


def counted(count: float, noun: str) -> str:
    """A number and its noun in the plural unless the number is 1: "1 clip", "2 batches"."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def check_number(
    what: str,
    value: float | None,
    *,
    least: float | None = None,
    above: float | None = None,
    unit: str = "",
    remedy: str = "",
) -> None:
    """Raise DataError for a number below `least`, not above `above`, or NaN; None passes."""
    if value is None:
        return
    if least is not None and not value >= least:
        raise DataError(what, value, f"must be at least {least:g}{unit}", remedy)
    if above is not None and not value > above:
        raise DataError(what, value, f"must be above {above:g}{unit}", remedy)


class AudioReadError(DataError):
    """A file that cannot be used as audio; reads "`path`: `reason`".

    Attributes:
        path: the file, or the shard that the clip is in where the shard is what cannot be read.
        reason: why, such as "empty: the file has 0 bytes".
    """

    def __init__(self, path: str | bytes | Path, reason: str) -> None:
        self.path, self.reason = os.fsdecode(path) if isinstance(path, bytes) else str(path), reason
        super().__init__("audio file", self.path, reason)
        self.args = self.path, self.reason  # what pickle passes to the constructor

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"
