"""One sentence for jsonargparse's lists of what it tried: which option, which value, and what it takes instead.

jsonargparse nests its complaints by indentation, a part in a part. Its text is the only place that names the option
inside a part; nothing but the sentence depends on it, and a text of another form is shown as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

KEY = re.compile(r'Parser key "([^"]+)":\s*(.*)')
CLASS = re.compile(r"Problem with given class_path '([^']+)'")
CALLABLE = re.compile(r"Type .* expects a (?:function|callable)")
TYPED = re.compile(r"Expected (?:a|an) (.+?)\. Got value: (.*)")
UNKNOWN = (
    re.compile(r"Option '([^']+)' is not accepted"),
    re.compile(r"unrecognized arguments: --([\w.]+)"),
    re.compile(r"Group '(?P<group>\w+)' does not accept option '(\w+)'"),
)
MISSING = re.compile(r"(module '[\w.]+' has no attribute '\w+'|No module named '[\w.]+')")
LONGEST = 200  # characters of a value that are shown


class Line(NamedTuple):
    """A line of the text with those that are indented below it."""

    text: str
    below: list[Line]


class Complaint(NamedTuple):
    """What is wrong with one option: `key` is its whole name, `owner` the class that it belongs to, if any."""

    key: str
    owner: str
    value: str
    reason: str  # the rest of the sentence


def wrong_value(message: str) -> str | None:
    """The sentence about the innermost option that an error is about; None for errors of another form."""
    if not message.lstrip().startswith("Parser key"):
        return None
    found = next(_complaints(_tree(message), "", ""), None)
    if found is None:
        return None
    value = found.value if len(found.value) <= LONGEST else f"{found.value[:LONGEST]} ..."
    return " ".join(part for part in (found.key, value, found.reason) if part) + "."


def _tree(message: str) -> list[Line]:
    top: list[Line] = []
    open_lines: list[tuple[int, Line]] = []
    for text in message.splitlines():
        if not text.strip():
            continue
        indent, line = len(text) - len(text.lstrip()), Line(text.strip().removeprefix("- "), [])
        while open_lines and open_lines[-1][0] >= indent:
            open_lines.pop()
        (open_lines[-1][1].below if open_lines else top).append(line)
        open_lines.append((indent, line))
    return top


def _complaints(lines: list[Line], key: str, owner: str) -> Iterator[Complaint]:
    """Those of some lines, below an option and a class; a class's own complaints come before those of a union."""
    for line in lines:
        text = line.text
        if CALLABLE.match(text):
            owner = ""  # the class of a callable is not named
        if named := KEY.search(text):
            inside = f"{key}.init_args" if CALLABLE.match(text) else key
            inner = f"{inside}.{named[1]}" if inside else named[1]
            yield from _complaints([*([Line(named[2], [])] if named[2] else []), *line.below], inner, owner)
        elif part := CLASS.match(text):
            missing = next((found[1] for child in line.below if (found := MISSING.search(child.text))), None)
            if missing is not None:
                yield Complaint(key, owner, part[1], f"cannot be loaded ({missing})")
            told = list(_complaints(line.below, f"{key}.init_args", part[1]))
            yield from told
            if line.below and not told:  # such as arguments that are required
                yield Complaint(key, owner, part[1], f"is not accepted ({line.below[0].text})")
        elif typed := TYPED.match(text):
            yield Complaint(key, owner, typed[2], f"is not accepted{_by(owner)}: it takes {_plain(typed[1])}")
        elif unknown := next(filter(None, (form.search(text) for form in UNKNOWN)), None):
            name = ".".join(unknown.groups())
            yield Complaint(f"{key}.{name}", owner, "", f"is no option of {owner}" if owner else "is no option")
        else:
            yield from _complaints(line.below, key, owner)
    yield from _union(lines, key, owner)


def _union(lines: list[Line], key: str, owner: str) -> Iterator[Complaint]:
    """The complaint of an option that takes one of several types."""
    types = next(
        (line.text.removeprefix("Subtypes: [")[:-1] for line in lines if line.text.startswith("Subtypes: [")), ""
    )
    value = next(
        (line.text.removeprefix("Given value: ") for line in lines if line.text.startswith("Given value: ")), ""
    )
    if types and value:
        value = value.partition(". Got value: ")[0]
        yield Complaint(key, owner, value, f"is not accepted{_by(owner)}: it takes {_plain(types)}")


def _by(owner: str) -> str:
    """The class that an option belongs to: in a list of parts its name does not tell them apart."""
    return f" by {owner}" if owner else ""


def _plain(types: str) -> str:
    """Names of types as YAML and this documentation have them."""
    types = re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", types).replace("NoneType", "null").replace("Sequence", "list")
    types = re.sub(r"typing\.Literal\[([^\]]*)\]", r"\1", types)
    return re.sub(r"\b(?:typing\.|(?:\w+\.)+(?=[A-Z]))", "", types)
