"""Mistakes that a user can correct: exceptions with fields, printed as one sentence."""


class UserError(ValueError):
    """What is wrong, with which value, what is allowed instead, and what to do.

    The command line prints the sentence and ends with status 2; code that handles the error looks at its class and
    fields, never at its text. The sentence is "`what` `value` `allowed`: `remedy`.", parts that are empty left out:
    `InvalidValue("taps", 7, "must be even", "take 12")` reads "taps 7 must be even: take 12."

    Attributes:
        what: the thing that is wrong, such as an option's name or "There is no checkpoint".
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


class InvalidValue(UserError):
    """An argument, option or tensor that is out of range, or that does not go together with another."""


class UnreadableFile(UserError):
    """A file that is missing, damaged, of another kind, or that cannot be written."""


class MissingDependency(UserError):
    """An optional package that is not installed."""


def counted(count: float, noun: str) -> str:
    """A number and its noun in the plural unless the number is 1: "1 clip", "2 batches"."""
    plural = f"{noun}es" if noun.endswith("ch") else f"{noun}s"
    return f"{count} {noun if count == 1 else plural}"


def first_line(error: BaseException, *, limit: int = 200) -> str:
    """What an error says first, at most `limit` characters, without a full stop; its class where it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0][:limit].rstrip(".:") if lines else type(error).__name__
