"""The key of a listening test: which signal of its page is which system; kept by the experimenter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from callbacks.output.files import write_json
from codec.errors import UnreadableFile, first_line

FORMAT = "listening-test-key/1"
METHODS = ("mushra", "abx")
ROLES = ("reference", "anchor", "system")


class Condition(NamedTuple):
    """What a signal of a clip is.

    Attributes:
        role: "reference" (the original, hidden among the signals), "anchor" or "system".
        system: Name of the system; of an anchor, its cut-off such as "3.5 kHz"; empty for the reference.
        channel: Name of the channel; empty for reference and anchors.
    """

    role: str
    system: str = ""
    channel: str = ""

    @property
    def label(self) -> str:
        """The condition in a table."""
        if self.role == "system":
            return f"{self.system}, {self.channel}"
        return "hidden reference" if self.role == "reference" else f"anchor, {self.system} low-pass"


class Trial(NamedTuple):
    """One screen of the test.

    Attributes:
        trial: Its random name on the page.
        clip: Id of the clip.
        speaker: The clip's speaker; empty where unknown.
        signals: Random name of each signal to what it is; in ABX two, the second of which is the standard.
    """

    trial: str
    clip: str
    speaker: str
    signals: dict[str, Condition]


class Key(NamedTuple):
    """A listening test without its sounds.

    Attributes:
        test: The test's name, a hash of the page's contents.
        method: "mushra" or "abx".
        title: Heading of the page.
        seed: Of the random names.
        facts: How the signals were made: sample rate, levels, gains, files of the runs; for the reader alone.
        trials: In the order of the clips; each listener hears them in an order of their own.
    """

    test: str
    method: str
    title: str
    seed: int
    facts: dict[str, Any]
    trials: list[Trial]

    @property
    def conditions(self) -> list[Condition]:
        """The conditions of all trials, each once, in the order of the key."""
        return list(dict.fromkeys(found for trial in self.trials for found in trial.signals.values()))

    @property
    def clips(self) -> list[str]:
        """The clips of all trials, each once."""
        return list(dict.fromkeys(trial.clip for trial in self.trials))


def write_key(path: Path, key: Key) -> None:
    """Write the key as JSON."""
    write_json(path, {"format": FORMAT, **_plain(key)})


def read_key(path: Path) -> Key:
    """The key in a file; UnreadableFile where it is none."""
    with parsing(path, "key of a listening test", remedy="give the .key.json that was written beside the page"):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format"] != FORMAT or document["method"] not in METHODS:
            raise ValueError(f"its format is {document['format']!r}, method {document['method']!r}")
        trials = [
            Trial(
                str(entry["trial"]),
                str(entry["clip"]),
                str(entry["speaker"]),
                {name: _condition(stated) for name, stated in entry["signals"].items()},
            )
            for entry in document["trials"]
        ]
        facts = dict(document["facts"])
        return Key(document["test"], document["method"], document["title"], document["seed"], facts, trials)


@contextmanager
def parsing(path: Path, what: str, *, remedy: str) -> Iterator[None]:
    """Inside, an error about a file or its contents becomes an UnreadableFile: "PATH is no `what` (reason)"."""
    try:
        yield
    except UnreadableFile:
        raise
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = f"missing {error}" if isinstance(error, KeyError) else first_line(error)
        raise UnreadableFile(str(path), allowed=f"is no {what} ({reason})", remedy=remedy) from error


def _condition(stated: dict[str, str]) -> Condition:
    found = Condition(stated["role"], stated["system"], stated["channel"])
    if found.role not in ROLES:
        raise ValueError(f"role {found.role!r}")
    return found


def _plain(key: Key) -> dict[str, Any]:
    trials = [
        {**trial._asdict(), "signals": {name: found._asdict() for name, found in trial.signals.items()}}
        for trial in key.trials
    ]
    return {**key._asdict(), "trials": trials}
