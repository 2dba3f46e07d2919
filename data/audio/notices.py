"""What is odd about files that are used all the same: said once a file, and no more often than is useful."""

import logging
from collections.abc import Callable

MOST_NAMED = 20  # of each kind, by one process

logger = logging.getLogger(__name__)
Sink = Callable[[str, str, str], None]


class Notices:
    """Logs each (kind, path) once, and of each kind MOST_NAMED, over the life of the process.

    `sink` takes what is said in its place: `BadFiles.note` says it once over all processes of a run.
    """

    def __init__(self) -> None:
        self._said: dict[str, set[str]] = {}
        self.sink: Sink | None = None

    def say(self, kind: str, path: str, text: str) -> None:
        """Log a warning about a file. Thread-safe, apart from that two threads may say the same."""
        said = self._said.setdefault(kind, set())
        if path in said or len(said) > MOST_NAMED:
            return
        said.add(path)
        if self.sink is not None:
            self.sink(kind, path, text)
        elif len(said) > MOST_NAMED:
            logger.warning("%s: more than %d files, further ones are not named", kind, MOST_NAMED)
        else:
            logger.warning("%s: %s", path, text)


NOTICES = Notices()
