"""What an acceptance run has found: checks by part, as one JSON file and one Markdown table."""

import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HEAD = "| part | check | measured | expected | |\n|---|---|---:|---|---|"


@dataclass
class Check:
    """One value: what it is, what was found, what was expected, and whether it passed (None: nothing is expected)."""

    name: str
    measured: float | str
    expected: str = ""
    passed: bool | None = None


@dataclass
class PartResult:
    """What one part has found; `status` is "running", "done", "failed" or "not run"."""

    name: str
    status: str = "running"
    seconds: float = 0.0
    error: str = ""
    checks: list[Check] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether it ran to its end and all its checks passed."""
        return self.status == "done" and all(check.passed is not False for check in self.checks)


class Report:
    """Collects the checks of the parts, and writes them anew whenever `save` is called.

    Args:
        folder: is made; the files are `NAME.json` and `NAME.md`.
        name: of the files, such as the card's.
        facts: about the machine, for the head of both files.
    """

    def __init__(self, folder: Path, name: str, facts: dict[str, Any]) -> None:
        self.folder, self.name, self.facts = folder, name, facts
        self.parts: list[PartResult] = []

    def begin(self, part: str) -> PartResult:
        """Add a part; the checks that follow are its own."""
        self.parts.append(PartResult(part))
        return self.parts[-1]

    def value(self, name: str, measured: float | str) -> None:
        """Record a value from which nothing is expected."""
        self.parts[-1].checks.append(Check(name, measured))

    def true(self, name: str, measured: float | str, expected: str, *, passed: bool) -> None:
        """Record a value with the caller's own verdict on it."""
        self.parts[-1].checks.append(Check(name, measured, expected, bool(passed)))

    def at_most(self, name: str, measured: float, limit: float) -> None:
        """Record a value that must be a number of at most `limit`."""
        self.true(name, measured, f"≤ {limit:g}", passed=measured <= limit)

    def at_least(self, name: str, measured: float, limit: float) -> None:
        """Record a value that must be a number of at least `limit`."""
        self.true(name, measured, f"≥ {limit:g}", passed=measured >= limit)

    @property
    def passed(self) -> bool:
        """Whether every part was run and passed."""
        return all(part.passed for part in self.parts)

    def save(self) -> None:
        """Write both files; each appears complete or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {**self.facts, "passed": self.passed, "parts": [finite(asdict(part)) for part in self.parts]}
        write(self.folder / f"{self.name}.json", json.dumps(document, indent=1, ensure_ascii=False) + "\n")
        write(self.folder / f"{self.name}.md", self.table())

    def table(self) -> str:
        """The Markdown page: facts, then a row for each check."""
        facts = "\n".join(f"- {key}: {shown(value)}" for key, value in self.facts.items())
        rows = [row for part in self.parts for row in part_rows(part)]
        return f"# GPU acceptance run\n\n{facts}\n\n" + "\n".join([HEAD, *rows]) + "\n"


def part_rows(part: PartResult) -> list[str]:
    """The rows of one part: its checks, then its duration, and its error where it has one."""
    verdict = {None: "", True: "passed", False: "**failed**"}
    cells = [(check.name, shown(check.measured), check.expected, verdict[check.passed]) for check in part.checks]
    state = part.status if part.status in ("running", "not run") else verdict[part.passed]
    cells.append((part.error or "seconds", f"{part.seconds:.1f}", "", state))
    return [f"| {part.name} | {' | '.join(text.replace('|', '/') for text in row)} |" for row in cells]


def shown(value: Any) -> str:
    """A value for a table: four significant digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def finite(value: Any) -> Any:
    """The same with NaN and infinities as texts, which JSON does not have as numbers."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def write(path: Path, text: str) -> None:
    """Replace a file's content in one step."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)
